package node

import (
	"context"
	"encoding/json"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// report writes the pod's status whenever it changed. An API server that does not answer holds up
// nothing but this.
func (p *pod) report() {
	for {
		select {
		case <-p.ended:
			return
		case <-p.changed:
		}
		for failed := false; ; failed = true {
			err := p.write()
			if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
				break
			}
			if !failed {
				log.Printf("status of %s/%s: %v", p.namespace, p.name, err)
			}
			select {
			case <-p.ended:
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}
}

func (p *pod) write() error {
	p.mu.Lock()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.uid}, "status": p.status()})
	p.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	_, err = p.node.Client.CoreV1().Pods(p.namespace).Patch(ctx, p.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// status is what the API has of this pod; its lock is held.
func (p *pod) status() corev1.PodStatus {
	host := p.node.Address.String()
	status := corev1.PodStatus{
		HostIP: host, HostIPs: []corev1.HostIP{{IP: host}}, StartTime: &p.since,
		Message: p.trouble,
	}
	if p.address.IsValid() {
		status.PodIP = p.address.String()
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	initialised, ready, started := true, true, len(p.mains) > 0
	for _, init := range p.inits {
		status.InitContainerStatuses = append(status.InitContainerStatuses, init.status)
		ended := init.status.State.Terminated
		initialised = initialised && ended != nil && ended.ExitCode == 0
	}
	for _, main := range p.mains {
		status.ContainerStatuses = append(status.ContainerStatuses, main.status)
		ready = ready && main.status.Ready
		// One that crashes has been started all the same: a pod never goes back to Pending.
		started = started && (main.status.State.Running != nil || main.status.LastTerminationState.Terminated != nil ||
			main.status.State.Terminated != nil)
	}
	if p.phase == corev1.PodPending && started {
		p.phase = corev1.PodRunning
	}
	status.Phase = p.phase
	p.condition(&status, corev1.PodScheduled, true)
	p.condition(&status, corev1.PodReadyToStartContainers, p.address.IsValid())
	p.condition(&status, corev1.PodInitialized, initialised)
	p.condition(&status, corev1.ContainersReady, ready)
	p.condition(&status, corev1.PodReady, ready && p.gatesOpen())
	return status
}

// gatesOpen says whether the conditions that readinessGates name are true.
func (p *pod) gatesOpen() bool {
	for _, gate := range p.spec.ReadinessGates {
		open := false
		for _, condition := range p.object.Status.Conditions {
			open = open || condition.Type == gate.ConditionType && condition.Status == corev1.ConditionTrue
		}
		if !open {
			return false
		}
	}
	return true
}

// condition appends one, whose time is that of its last change.
func (p *pod) condition(status *corev1.PodStatus, kind corev1.PodConditionType, holds bool) {
	value := corev1.ConditionFalse
	if holds {
		value = corev1.ConditionTrue
	}
	condition, known := p.conditions[kind]
	if !known || condition.Status != value {
		condition = corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: metav1.Now()}
		if !holds && (kind == corev1.PodReady || kind == corev1.ContainersReady) {
			condition.Reason = "ContainersNotReady"
		}
		p.conditions[kind] = condition
	}
	status.Conditions = append(status.Conditions, condition)
}
