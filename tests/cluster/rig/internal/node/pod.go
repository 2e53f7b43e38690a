package node

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is one Pod's processes and what we report about them.
type pod struct {
	node            *Node
	uid             types.UID
	namespace, name string
	address         netip.Addr
	netns           string
	spec            *corev1.PodSpec // what of it does not change

	mu         sync.Mutex
	object     *corev1.Pod // as last seen
	grace      time.Duration
	phase      corev1.PodPhase
	since      metav1.Time
	inits      []*runner
	mains      []*runner
	conditions map[corev1.PodConditionType]corev1.PodCondition
	trouble    string // why it cannot start yet

	changed  chan struct{} // the status has something new
	stopping context.Context
	stop     context.CancelFunc // the grace period begins
	killed   context.Context
	kill     context.CancelFunc // at once
	ended    chan struct{}
}

func (n *Node) newPod(object *corev1.Pod) *pod {
	p := &pod{
		node: n, uid: object.UID, namespace: object.Namespace, name: object.Name,
		netns: "pod-" + string(object.UID), object: object, spec: &object.Spec,
		phase: corev1.PodPending, since: metav1.Now(),
		conditions: map[corev1.PodConditionType]corev1.PodCondition{},
		changed:    make(chan struct{}, 1), ended: make(chan struct{}),
	}
	p.killed, p.kill = context.WithCancel(context.Background())
	p.stopping, p.stop = context.WithCancel(p.killed)
	for index := range object.Spec.InitContainers {
		p.inits = append(p.inits, newRunner(p, &object.Spec.InitContainers[index]))
	}
	for index := range object.Spec.Containers {
		p.mains = append(p.mains, newRunner(p, &object.Spec.Containers[index]))
	}
	return p
}

// update takes the object as it is now; the only news that matters are its deletion and labels.
func (p *pod) update(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.object = object
	if object.DeletionTimestamp == nil {
		return
	}
	p.grace = 30 * time.Second
	if seconds := object.DeletionGracePeriodSeconds; seconds != nil {
		p.grace = time.Duration(*seconds) * time.Second
	}
	p.stop()
}

func (p *pod) seen() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

func (p *pod) run() {
	reported := make(chan struct{})
	go func() { defer close(reported); p.report() }()
	volumes := &volumes{pod: p}
	if phase := p.object.Status.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		p.phase = phase
		<-p.stopping.Done()
	} else if p.prepare(volumes) {
		go volumes.refresh(p.killed)
		p.work()
	}
	if p.stopping.Err() == nil {
		// It ended by itself; its object stays until somebody deletes it.
		<-p.stopping.Done()
	}
	p.delete()
	p.kill()
	close(p.ended)
	<-reported
	p.cleanUp(volumes)
	p.node.forget(p.uid)
}

// prepare makes the network and volumes, as often as it takes; whether it could before the end.
func (p *pod) prepare(volumes *volumes) bool {
	for first := true; ; first = false {
		err := p.attach()
		if err == nil {
			err = volumes.prepare()
		}
		if err == nil {
			p.set(func() { p.trouble = "" })
			return true
		}
		if first {
			log.Printf("%s/%s: %v", p.namespace, p.name, err)
		}
		p.set(func() { p.trouble = err.Error() })
		select {
		case <-p.stopping.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (p *pod) attach() error {
	if p.address.IsValid() {
		return nil
	}
	address, err := p.node.Network.address()
	if err != nil {
		return err
	}
	if err := p.node.Network.attach(p.netns, address); err != nil {
		p.node.Network.detach(p.netns)
		return err
	}
	if security := p.spec.SecurityContext; security != nil {
		for _, parameter := range security.Sysctls {
			if err := sysctl(p.netns, parameter.Name, parameter.Value); err != nil {
				p.node.Network.detach(p.netns)
				return err
			}
		}
	}
	p.set(func() { p.address = address })
	return nil
}

// work runs the init containers one after the other, then the others together, until all ended.
func (p *pod) work() {
	for _, init := range p.inits {
		if !init.toSuccess() {
			if p.stopping.Err() == nil {
				p.set(func() { p.phase = corev1.PodFailed })
			}
			return
		}
	}
	var running sync.WaitGroup
	for _, main := range p.mains {
		running.Go(main.run)
	}
	running.Wait()
	if p.stopping.Err() != nil {
		return
	}
	phase := corev1.PodSucceeded
	for _, main := range p.mains {
		if ended := main.status.State.Terminated; ended == nil || ended.ExitCode != 0 {
			phase = corev1.PodFailed
		}
	}
	p.set(func() { p.phase = phase })
}

// delete says to the API server that nothing runs any more.
func (p *pod) delete() {
	now := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.uid}}
	for {
		ctx, done := context.WithTimeout(p.killed, 5*time.Second)
		err := p.node.Client.CoreV1().Pods(p.namespace).Delete(ctx, p.name, options)
		done()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		select {
		case <-p.killed.Done():
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (p *pod) cleanUp(volumes *volumes) {
	volumes.remove()
	p.node.Network.detach(p.netns)
	if err := os.RemoveAll(p.folder()); err != nil {
		log.Printf("%s/%s: %v", p.namespace, p.name, err)
	}
}

// set changes what is reported.
func (p *pod) set(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pod) folder(below ...string) string {
	return filepath.Join(append([]string{p.node.folder(p.uid)}, below...)...)
}

func (p *pod) runner(name string) (*runner, error) {
	for _, all := range [][]*runner{p.mains, p.inits} {
		for _, one := range all {
			if one.spec.Name == name || name == "" {
				return one, nil
			}
		}
	}
	return nil, fmt.Errorf("pod %s has no container %s", p.name, name)
}
