// Package node is a kubelet in small: pods bound to its Node are processes in namespaces of their
// own, with real addresses, probes, hooks, volumes and logs.
package node

import (
	"context"
	"encoding/json"
	"log"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Shared is what all nodes of a cluster have in common.
type Shared struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Images    *Images
	Tokens    *Tokens
	Network   *Network
	Folder    string // pods' roots, volumes and logs
	DNS       string // what /etc/resolv.conf of pods names
	Users     bool   // whether a container can have another user than root
	// Whether somebody was told that it cannot.
	usersMissed sync.Once
}

// Node is one Node object and its pods.
type Node struct {
	*Shared
	Name    string
	Address netip.Addr

	mu   sync.Mutex
	pods map[types.UID]*pod
}

// The kubelet's port, as everywhere.
const port = 10250

// Run registers the Node and runs its pods until the process ends.
func (n *Node) Run(ctx context.Context, certificate, key string) error {
	n.pods = map[types.UID]*pod{}
	if err := n.register(ctx); err != nil {
		return err
	}
	go n.keepRegistered(ctx)
	if err := n.serve(certificate, key); err != nil {
		return err
	}
	_, err := n.Informers.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { n.seen(object) },
		UpdateFunc: func(_, object any) { n.seen(object) },
		DeleteFunc: func(object any) { n.gone(object) },
	})
	return err
}

func (n *Node) seen(object any) {
	spec, ok := object.(*corev1.Pod)
	if !ok || spec.Spec.NodeName != n.Name {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	running := n.pods[spec.UID]
	if running == nil {
		running = n.newPod(spec)
		n.pods[spec.UID] = running
		go running.run()
	}
	running.update(spec)
}

// gone ends a pod whose object is no more: deleted with force, or with all other objects.
func (n *Node) gone(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	spec, ok := object.(*corev1.Pod)
	if !ok || spec.Spec.NodeName != n.Name {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if running := n.pods[spec.UID]; running != nil {
		running.kill()
	}
}

// forget is called by a pod that has ended and cleaned up.
func (n *Node) forget(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, uid)
}

func (n *Node) find(namespace, name string) *pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, running := range n.pods {
		if running.namespace == namespace && running.name == name {
			return running
		}
	}
	return nil
}

// keepRegistered beats as a kubelet does, and comes back when the object was deleted.
func (n *Node) keepRegistered(ctx context.Context) {
	for range time.Tick(5 * time.Second) {
		if err := n.register(ctx); err != nil {
			log.Printf("node %s: %v", n.Name, err)
		}
	}
}

func (n *Node) register(ctx context.Context) error {
	nodes := n.Client.CoreV1().Nodes()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
		corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}}}
	if _, err := nodes.Get(ctx, n.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		if _, err := nodes.Create(ctx, object, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Admission taints every new node as not ready, and the controller that would take the taint
		// away is not run.
		untainted := []byte(`{"spec":{"taints":null}}`)
		if _, err := nodes.Patch(ctx, n.Name, types.MergePatchType, untainted, metav1.PatchOptions{}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": n.status()})
	if err != nil {
		return err
	}
	_, err = nodes.Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// started is when this process began to be ready, for all nodes' conditions.
var started = sync.OnceValue(metav1.Now)

func (n *Node) status() corev1.NodeStatus {
	room := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("64"),
		corev1.ResourceMemory:           resource.MustParse("64Gi"),
		corev1.ResourcePods:             resource.MustParse("1000"),
		corev1.ResourceEphemeralStorage: resource.MustParse("64Gi"),
	}
	return corev1.NodeStatus{
		Capacity: room, Allocatable: room,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: n.Address.String()},
			{Type: corev1.NodeHostName, Address: n.Name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: "v1.36.3-rig", ContainerRuntimeVersion: "processes://1", OperatingSystem: "linux"},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Rig",
			LastHeartbeatTime: metav1.Now(), LastTransitionTime: started(),
		}},
	}
}

// folder of a pod's files.
func (n *Node) folder(uid types.UID) string { return filepath.Join(n.Folder, string(uid)) }

// Periods that differ from Kubernetes' own, so that tests need not wait.
const (
	// Failed containers are restarted after this, then after twice as long, and so on up to the
	// most; Kubernetes waits 10 s to 5 min.
	backOffFirst = 300 * time.Millisecond
	backOffMost  = 5 * time.Second
	// How often the contents of volumes are compared with their objects; Kubernetes: a minute.
	refresh = time.Second
)

// Containers started so far, to name them.
var launched atomic.Int64
