// Package scheduler binds pods to nodes: where they may run, where fewest run.
package scheduler

import (
	"context"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Scheduler looks at all pods whenever a pod or node changed.
type Scheduler struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory

	changed chan struct{}
	// Bound by us, before the informer has heard of it.
	bound map[types.UID]string
}

// Run binds pods until the context ends.
func (s *Scheduler) Run(ctx context.Context) error {
	s.changed, s.bound = make(chan struct{}, 1), map[types.UID]string{}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.touch() },
		UpdateFunc: func(any, any) { s.touch() },
		DeleteFunc: func(any) { s.touch() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		s.Informers.Core().V1().Pods().Informer(), s.Informers.Core().V1().Nodes().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.changed:
				s.pass(ctx)
			}
		}
	}()
	return nil
}

func (s *Scheduler) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Scheduler) pass(ctx context.Context) {
	pods, err := s.Informers.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return
	}
	nodes, err := s.Informers.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return
	}
	on := map[string][]*corev1.Pod{}
	alive := map[types.UID]string{}
	var waiting []*corev1.Pod
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		node := pod.Spec.NodeName
		if node == "" {
			node = s.bound[pod.UID]
			alive[pod.UID] = node
		}
		if node != "" {
			on[node] = append(on[node], pod)
		} else if pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 {
			waiting = append(waiting, pod)
		}
	}
	s.bound = alive
	for _, pod := range waiting {
		node := choose(pod, nodes, on)
		if node == "" {
			continue // looked at again when something changes
		}
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
			Target: corev1.ObjectReference{Kind: "Node", Name: node}}
		if err := s.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				log.Printf("binding %s/%s: %v", pod.Namespace, pod.Name, err)
				time.AfterFunc(300*time.Millisecond, s.touch)
			}
			continue
		}
		s.bound[pod.UID] = node
		on[node] = append(on[node], pod)
	}
}

// choose gives the node with the fewest pods of the same owner, then the fewest at all.
func choose(pod *corev1.Pod, nodes []*corev1.Node, on map[string][]*corev1.Pod) string {
	best, least := "", 0
	for _, node := range nodes {
		if !fits(pod, node, on[node.Name]) {
			continue
		}
		weight := len(on[node.Name])
		for _, other := range on[node.Name] {
			if owner(other) != "" && owner(other) == owner(pod) {
				weight += 1000
			}
		}
		if best == "" || weight < least || weight == least && node.Name < best {
			best, least = node.Name, weight
		}
	}
	return best
}

func owner(pod *corev1.Pod) types.UID {
	if of := metav1.GetControllerOf(pod); of != nil {
		return of.UID
	}
	return ""
}

func fits(pod *corev1.Pod, node *corev1.Node, there []*corev1.Pod) bool {
	if matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !matches {
		return false
	}
	unschedulable := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if node.Spec.Unschedulable && !tolerates(pod, unschedulable) {
		return false
	}
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod, taint) {
			return false
		}
	}
	return !portsTaken(pod, there) && !repelled(pod, there)
}

func tolerates(pod *corev1.Pod, taint corev1.Taint) bool {
	for _, toleration := range pod.Spec.Tolerations {
		key := toleration.Key == taint.Key || toleration.Key == "" && toleration.Operator == corev1.TolerationOpExists
		effect := toleration.Effect == "" || toleration.Effect == taint.Effect
		value := toleration.Operator == corev1.TolerationOpExists || toleration.Value == taint.Value
		if key && effect && value {
			return true
		}
	}
	return false
}

func portsTaken(pod *corev1.Pod, there []*corev1.Pod) bool {
	taken := map[int32]bool{}
	for _, other := range there {
		for _, container := range other.Spec.Containers {
			for _, port := range container.Ports {
				taken[port.HostPort] = port.HostPort != 0
			}
		}
	}
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			if taken[port.HostPort] {
				return true
			}
		}
	}
	return false
}

// repelled says whether required anti-affinity by host name keeps the pod away from those there.
func repelled(pod *corev1.Pod, there []*corev1.Pod) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return false
	}
	for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		if err != nil || term.TopologyKey != corev1.LabelHostname {
			continue
		}
		for _, other := range there {
			if other.Namespace == pod.Namespace && selector.Matches(labels.Set(other.Labels)) {
				return true
			}
		}
	}
	return false
}
