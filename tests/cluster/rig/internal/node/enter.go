package node

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/exec"
	"strconv"
	"syscall"
)

// enter prepares a command inside the running container: its files, network and processes, its
// user and environment. It keeps more capabilities than the container has, if that is root.
func (r *runner) enter(arguments []string) (*exec.Cmd, error) {
	running := r.current()
	if running == nil {
		return nil, errors.New("the container does not run")
	}
	if len(arguments) == 0 {
		return nil, errors.New("no command")
	}
	words := []string{"--target", strconv.Itoa(running.command.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid"}
	if r.pod.node.Users {
		words = append(words, "--setuid", strconv.Itoa(running.user), "--setgid", strconv.Itoa(running.group))
	}
	command := exec.Command("nsenter", append(append(words, "--"), arguments...)...)
	if command.Err != nil {
		return nil, command.Err
	}
	command.Env = running.env
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return command, nil
}

// runGroup runs a command and kills it with its descendants when the context ends.
func runGroup(ctx context.Context, command *exec.Cmd) error {
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
		return fmt.Errorf("not in time: %w", ctx.Err())
	}
}

func logf(r *runner, format string, arguments ...any) {
	log.Printf("%s/%s %s: %s", r.pod.namespace, r.pod.name, r.spec.Name, fmt.Sprintf(format, arguments...))
}
