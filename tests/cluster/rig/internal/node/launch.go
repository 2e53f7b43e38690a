package node

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"narthex.dev/rig/internal/container"
)

// process is one run of a container.
type process struct {
	command *exec.Cmd
	env     []string
	user    int
	group   int
	since   time.Time
	ended   chan struct{}
	// When it has ended.
	code, signal int
}

// launch starts the container's process and reports that it runs.
func (r *runner) launch() (*process, error) {
	image, err := r.pod.node.Images.find(r.spec.Image)
	if err != nil {
		return nil, err
	}
	env, err := r.environment(image)
	if err != nil {
		return nil, err
	}
	spec, err := r.containerSpec(image, env)
	if err != nil {
		return nil, err
	}
	if err := r.fillRoot(spec); err != nil {
		return nil, err
	}
	output, err := r.openLog()
	if err != nil {
		return nil, err
	}
	command, err := container.Start(r.pod.netns, spec, output)
	_ = output.Close()
	if err != nil {
		return nil, err
	}
	started := &process{command: command, env: spec.Env, user: spec.User, group: spec.Group,
		since: time.Now(), ended: make(chan struct{})}
	go started.wait()
	r.pod.set(func() {
		r.process = started
		if ended := r.status.State.Terminated; ended != nil {
			r.status.LastTerminationState = corev1.ContainerState{Terminated: ended}
		}
		if r.status.LastTerminationState.Terminated != nil {
			r.status.RestartCount++
		}
		begun := r.spec.StartupProbe == nil
		r.status.Started = &begun
		r.status.Ready = begun && r.spec.ReadinessProbe == nil
		r.status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started.since)}}
		r.status.ContainerID = fmt.Sprintf("rig://%d-%d", command.Process.Pid, launched.Add(1))
	})
	return started, nil
}

func (p *process) wait() {
	_ = p.command.Wait()
	status := p.command.ProcessState.Sys().(syscall.WaitStatus)
	p.code = status.ExitStatus()
	if status.Signaled() {
		p.signal = int(status.Signal())
		p.code = 128 + p.signal
	}
	close(p.ended)
}

func (r *runner) containerSpec(image *Image, env *environment) (*container.Spec, error) {
	spec := &container.Spec{
		Root:     r.pod.folder("containers", r.spec.Name),
		Hostname: r.pod.name, Env: env.list, Folder: r.spec.WorkingDir, Host: image.Host,
		Users: r.pod.node.Users, User: int(image.User), Group: int(image.User),
	}
	if hostname := r.pod.spec.Hostname; hostname != "" {
		spec.Hostname = hostname
	}
	command, arguments := r.spec.Command, r.spec.Args
	if len(command) == 0 {
		command = image.Entrypoint
	}
	for _, argument := range slices.Concat(command, arguments) {
		spec.Arguments = append(spec.Arguments, env.expand(argument))
	}
	for to, from := range image.Files {
		spec.Mounts = append(spec.Mounts, container.Mount{From: from, To: to, ReadOnly: true})
	}
	for _, mount := range r.spec.VolumeMounts {
		from, only, err := r.pod.mountSource(mount, env)
		if err != nil {
			return nil, err
		}
		spec.Mounts = append(spec.Mounts, container.Mount{From: from, To: mount.MountPath, ReadOnly: only})
	}
	// What lies deeper is mounted later, so that nothing hides it.
	slices.SortStableFunc(spec.Mounts, func(a, b container.Mount) int {
		return strings.Count(a.To, "/") - strings.Count(b.To, "/")
	})
	if err := r.secure(spec); err != nil {
		return nil, err
	}
	if !spec.Users && (spec.User != 0 || spec.Group != 0) {
		r.pod.node.usersMissed.Do(func() {
			log.Printf("without root there is one user only: runAsUser %d of %s/%s (and all others) is NOT honoured",
				spec.User, r.pod.namespace, r.pod.name)
		})
	}
	return spec, nil
}

// secure reads both securityContexts; the container's wins.
func (r *runner) secure(spec *container.Spec) error {
	if of := r.pod.spec.SecurityContext; of != nil {
		set(&spec.User, of.RunAsUser)
		set(&spec.Group, of.RunAsGroup)
		for _, group := range of.SupplementalGroups {
			spec.Groups = append(spec.Groups, int(group))
		}
		if of.FSGroup != nil {
			spec.Groups = append(spec.Groups, int(*of.FSGroup))
		}
		if of.RunAsNonRoot != nil && *of.RunAsNonRoot && spec.User == 0 && (r.spec.SecurityContext == nil || r.spec.SecurityContext.RunAsUser == nil) {
			return fmt.Errorf("container has runAsNonRoot and image will run as root")
		}
	}
	var drop, add []string
	if of := r.spec.SecurityContext; of != nil {
		set(&spec.User, of.RunAsUser)
		set(&spec.Group, of.RunAsGroup)
		if of.RunAsNonRoot != nil && *of.RunAsNonRoot && spec.User == 0 {
			return fmt.Errorf("container has runAsNonRoot and image will run as root")
		}
		spec.ReadOnly = of.ReadOnlyRootFilesystem != nil && *of.ReadOnlyRootFilesystem
		spec.NoNewPrivs = of.AllowPrivilegeEscalation != nil && !*of.AllowPrivilegeEscalation
		if of.Capabilities != nil {
			drop, add = words(of.Capabilities.Drop), words(of.Capabilities.Add)
		}
	}
	var err error
	spec.Capabilities, err = container.Capabilities(drop, add)
	return err
}

func set(to *int, from *int64) {
	if from != nil {
		*to = int(*from)
	}
}

func words(capabilities []corev1.Capability) []string {
	list := make([]string, 0, len(capabilities))
	for _, capability := range capabilities {
		list = append(list, string(capability))
	}
	return list
}

// fillRoot makes the few files that every container has.
func (r *runner) fillRoot(spec *container.Spec) error {
	// A restarted container begins with an empty root.
	if err := os.RemoveAll(spec.Root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(spec.Root, "etc"), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(spec.Root, "tmp")
	if err := os.Mkdir(temporary, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(temporary, 0o777|os.ModeSticky); err != nil {
		return err
	}
	search := fmt.Sprintf("%s.svc.cluster.local svc.cluster.local cluster.local", r.pod.namespace)
	for name, text := range map[string]string{
		"hosts":         fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", r.pod.address, spec.Hostname),
		"hostname":      spec.Hostname + "\n",
		"resolv.conf":   fmt.Sprintf("search %s\nnameserver %s\noptions ndots:5\n", search, r.pod.node.DNS),
		"nsswitch.conf": "hosts: files dns\n",
		"passwd":        "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
		"group":         "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n",
	} {
		if err := os.WriteFile(filepath.Join(spec.Root, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
