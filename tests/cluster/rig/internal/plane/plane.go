// Package plane runs etcd, the API server and the controllers as processes, and breaks them on
// demand: killed, stopped and started again.
package plane

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"narthex.dev/rig/internal/certs"
)

// Plane is a control plane in a folder.
type Plane struct {
	Folder  string // state, certificates, logs
	Program string // the `kube` binary
	// Port of the API server, on loopback and, behind the relay, on Advertise.
	Port      int
	Advertise string
	Services  string // CIDR of ClusterIPs

	mu    sync.Mutex
	parts map[string]*part
}

// Parts by name, as in logs and on the control socket.
const (
	etcd        = "etcd"
	apiserver   = "kube-apiserver"
	controllers = "kube-controller-manager"
)

const etcdURL = "http://127.0.0.1:2379"

// The controllers whose work tests look at. Left out are those that would need a cloud, and
// node-lifecycle: nodes live and die with this process.
const enabled = "endpoints-controller,endpointslice-controller,endpointslice-mirroring-controller," +
	"deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller," +
	"job-controller,namespace-controller,serviceaccount-controller,serviceaccount-token-controller," +
	"root-ca-certificate-publisher-controller,garbage-collector-controller," +
	"pod-garbage-collector-controller,disruption-controller,clusterrole-aggregation-controller"

// URL of the API server for what belongs to the rig itself: not through the relay.
func (p *Plane) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", p.Port) }

// Start starts all parts and returns when pods can be made.
func (p *Plane) Start(ctx context.Context) error {
	p.parts = map[string]*part{}
	if err := p.spawn(etcd, p.etcdArguments()); err != nil {
		return err
	}
	if err := p.spawn(apiserver, p.apiserverArguments()); err != nil {
		return err
	}
	if err := p.until(ctx, "/readyz"); err != nil {
		return err
	}
	if err := p.spawn(controllers, p.controllerArguments()); err != nil {
		return err
	}
	// Pods are refused before the controller of ServiceAccounts has made this one.
	return p.until(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
}

// Apiserver does one of kill, start, stop (it hangs, its connections stay) and cont.
func (p *Plane) Apiserver(ctx context.Context, verb string) error {
	switch verb {
	case "kill":
		return p.kill(apiserver)
	case "start":
		if err := p.spawn(apiserver, p.apiserverArguments()); err != nil {
			return err
		}
		if err := p.until(ctx, "/readyz"); err != nil {
			return err
		}
		// The controllers would come back by themselves, each watch after a back-off of up to half a
		// minute; tests do not wait for that.
		if err := p.kill(controllers); err != nil {
			return err
		}
		return p.spawn(controllers, p.controllerArguments())
	case "stop":
		return p.signal(apiserver, syscall.SIGSTOP)
	case "cont":
		return p.signal(apiserver, syscall.SIGCONT)
	}
	return fmt.Errorf("there is no `apiserver %s`: kill, start, stop or cont", verb)
}

// Died gives the first part that ended without being told to.
func (p *Plane) Died() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, part := range p.parts {
		select {
		case <-part.ended:
			return fmt.Errorf("%s ended by itself; see %s", name, filepath.Join(p.Folder, name+".log"))
		default:
		}
	}
	return nil
}

// Pids of the parts that run, by name.
func (p *Plane) Pids() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	pids := map[string]int{}
	for name, part := range p.parts {
		pids[name] = part.command.Process.Pid
	}
	return pids
}

func (p *Plane) until(ctx context.Context, path string) error {
	certificate, err := tls.LoadX509KeyPair(p.file(certs.Admin+".crt"), p.file(certs.Admin+".key"))
	if err != nil {
		return err
	}
	// Only readiness is asked here, of a server that we started.
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	for {
		if answer, err := client.Get(p.URL() + path); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := p.Died(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *Plane) file(name string) string { return filepath.Join(p.Folder, name) }
