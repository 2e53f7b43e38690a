package node

import (
	"context"
	"fmt"
	"log"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runner starts one container of a pod, and starts it again.
type runner struct {
	pod  *pod
	spec *corev1.Container

	// Under the pod's lock.
	status  corev1.ContainerStatus
	process *process
	runs    int // begun so far; each has a log
}

func newRunner(p *pod, spec *corev1.Container) *runner {
	return &runner{pod: p, spec: spec, status: corev1.ContainerStatus{
		Name: spec.Name, Image: spec.Image, ImageID: "rig://" + spec.Image,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
	}}
}

// run starts the container as often as restartPolicy says, until the pod is to stop.
func (r *runner) run() {
	wait := backOffFirst
	for r.pod.stopping.Err() == nil {
		ended := r.once()
		if ended != nil && !r.restarts(ended.code) {
			return
		}
		if ended != nil && time.Since(ended.since) > 10*time.Second {
			wait = backOffFirst
		}
		if r.pod.stopping.Err() != nil {
			return
		}
		if ended != nil {
			r.waiting("CrashLoopBackOff", fmt.Sprintf("back-off %s after exit code %d", wait, ended.code))
		}
		select {
		case <-r.pod.stopping.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, backOffMost)
	}
}

// toSuccess runs an init container until it ends with 0; whether it did.
func (r *runner) toSuccess() bool {
	wait := backOffFirst
	for r.pod.stopping.Err() == nil {
		ended := r.once()
		if ended != nil && ended.code == 0 {
			return r.pod.stopping.Err() == nil
		}
		if ended != nil && r.pod.spec.RestartPolicy == corev1.RestartPolicyNever {
			return false
		}
		select {
		case <-r.pod.stopping.Done():
		case <-time.After(wait):
		}
		wait = min(wait*2, backOffMost)
	}
	return false
}

func (r *runner) restarts(code int) bool {
	switch r.pod.spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// once starts the container and returns when it has ended; none if it could not be started.
func (r *runner) once() *process {
	started, err := r.launch()
	if err != nil {
		log.Printf("%s/%s %s: %v", r.pod.namespace, r.pod.name, r.spec.Name, err)
		r.waiting("CreateContainerError", err.Error())
		return nil
	}
	// Readiness is asked until the end: a pod that drains is still asked whether it is ready.
	asked, enough := context.WithCancel(r.pod.killed)
	defer enough()
	unhealthy := r.probe(asked)
	r.hook("postStart", r.lifecycle().PostStart, r.pod.stopping)
	select {
	case <-started.ended:
	case <-r.pod.stopping.Done():
		r.terminate(started, r.pod.graceLeft())
	case why := <-unhealthy:
		log.Printf("%s/%s %s is killed: %s", r.pod.namespace, r.pod.name, r.spec.Name, why.message)
		r.terminate(started, why.grace)
	}
	enough()
	r.over(started)
	return started
}

// terminate runs preStop, asks the process to end, and kills it when the grace is over.
func (r *runner) terminate(running *process, grace time.Duration) {
	deadline := time.Now().Add(grace)
	if hook := r.lifecycle().PreStop; hook != nil && grace > 0 {
		ctx, done := context.WithDeadline(r.pod.killed, deadline)
		go func() {
			select {
			case <-running.ended:
				done()
			case <-ctx.Done():
			}
		}()
		r.hook("preStop", hook, ctx)
		done()
	}
	_ = running.command.Process.Signal(syscall.SIGTERM)
	// A hook that used up everything leaves the process two seconds, as the kubelet does.
	left := max(time.Until(deadline), min(grace, 2*time.Second))
	select {
	case <-running.ended:
		return
	case <-time.After(left):
	case <-r.pod.killed.Done():
	}
	_ = running.command.Process.Kill()
	<-running.ended
}

// over reports the end of a run.
func (r *runner) over(ended *process) {
	r.pod.set(func() {
		r.process = nil
		reason := "Error"
		if ended.code == 0 {
			reason = "Completed"
		}
		terminated := &corev1.ContainerStateTerminated{
			ExitCode: int32(ended.code), Reason: reason, Signal: int32(ended.signal),
			StartedAt: metav1.NewTime(ended.since), FinishedAt: metav1.Now(), ContainerID: r.status.ContainerID,
		}
		r.status.Ready = false
		r.status.Started = new(bool)
		r.status.State = corev1.ContainerState{Terminated: terminated}
	})
}

func (r *runner) waiting(reason, message string) {
	r.pod.set(func() {
		if ended := r.status.State.Terminated; ended != nil {
			r.status.LastTerminationState = corev1.ContainerState{Terminated: ended}
		}
		r.status.Ready = false
		r.status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	})
}

func (r *runner) lifecycle() *corev1.Lifecycle {
	if r.spec.Lifecycle == nil {
		return &corev1.Lifecycle{}
	}
	return r.spec.Lifecycle
}

func (r *runner) current() *process {
	r.pod.mu.Lock()
	defer r.pod.mu.Unlock()
	return r.process
}

func (p *pod) graceLeft() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grace
}
