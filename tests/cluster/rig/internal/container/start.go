package container

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitArgument as the first argument makes this program call Init.
const InitArgument = "container-init"

// Start starts the container in a named network namespace; both outputs go to output. The
// process is the first of its PID namespace: when it ends, so do its descendants.
func Start(netns string, spec *Spec, output *os.File) (*exec.Cmd, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	defer writer.Close()
	command := exec.Command("/proc/self/exe", InitArgument)
	command.Env = []string{}
	command.Stdout, command.Stderr = output, output
	command.ExtraFiles = []*os.File{reader}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := InNetwork(netns, command.Start); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(writer).Encode(spec); err != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		return nil, err
	}
	return command, nil
}

// InNetwork calls do from a thread that is in a named network namespace. The thread is thrown
// away afterwards, so what is forked there must not ask for a signal at its parent's death.
func InNetwork(netns string, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		namespace, err := os.Open("/run/netns/" + netns)
		if err != nil {
			result <- err
			return
		}
		defer namespace.Close()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		result <- do()
	}()
	return <-result
}
