package plane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"narthex.dev/rig/internal/certs"
)

// part is one running process of the plane.
type part struct {
	command *exec.Cmd
	ended   chan struct{}
}

func (p *Plane) spawn(name string, arguments []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parts[name] != nil {
		return fmt.Errorf("%s runs already", name)
	}
	log, err := os.OpenFile(p.file(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(p.Program, append([]string{name}, arguments...)...)
	command.Stdout, command.Stderr = log, log
	// A group of its own: an interrupt of the terminal is the supervisor's to act on.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	started := &part{command, make(chan struct{})}
	p.parts[name] = started
	go func() {
		_ = command.Wait()
		close(started.ended)
	}()
	return nil
}

func (p *Plane) kill(name string) error {
	p.mu.Lock()
	killed := p.parts[name]
	delete(p.parts, name)
	p.mu.Unlock()
	if killed == nil {
		return fmt.Errorf("%s does not run", name)
	}
	if err := killed.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-killed.ended
	return nil
}

func (p *Plane) signal(name string, signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parts[name] == nil {
		return fmt.Errorf("%s does not run", name)
	}
	return p.parts[name].command.Process.Signal(signal)
}

func (p *Plane) etcdArguments() []string {
	return []string{"--data-dir=" + p.file("etcd"), "--client=" + etcdURL, "--peer=http://127.0.0.1:2380"}
}

func (p *Plane) apiserverArguments() []string {
	key := p.file(certs.AccountKey)
	return []string{
		"--etcd-servers=" + etcdURL,
		// Behind the relay, which has the same port of the advertised address.
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", p.Port),
		"--advertise-address=" + p.Advertise,
		"--tls-cert-file=" + p.file(certs.Server+".crt"), "--tls-private-key-file=" + p.file(certs.Server+".key"),
		"--client-ca-file=" + p.file(certs.Authority),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		"--service-cluster-ip-range=" + p.Services,
		"--authorization-mode=RBAC", "--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP",
		"--cert-dir=" + p.file("apiserver"),
	}
}

func (p *Plane) controllerArguments() []string {
	return []string{
		"--kubeconfig=" + p.file("kubeconfig-rig"), "--controllers=" + enabled,
		"--service-account-private-key-file=" + p.file(certs.AccountKey), "--root-ca-file=" + p.file(certs.Authority),
		"--use-service-account-credentials=false", "--leader-elect=false", "--concurrent-gc-syncs=4",
		"--bind-address=127.0.0.1", "--secure-port=0",
	}
}
