// Package launch starts a cluster from outside of its namespaces, and talks to one that runs.
package launch

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SuperviseArgument as the first argument makes this program the first process of the namespaces.
const SuperviseArgument = "supervise"

// Files in a cluster's folder.
const (
	socketName = "control.sock"
	pidName    = "pid"
	logName    = "rig.log"
)

// How long a loaded machine may take; it is five seconds on an idle one.
const patience = 3 * time.Minute

// Start starts a cluster and returns when pods can be made.
func Start(arguments []string) error {
	flags := flag.NewFlagSet("start", flag.ExitOnError)
	folder := flags.String("folder", "", "where its state is kept")
	nodes := flags.Int("nodes", 1, "how many nodes")
	images := flags.String("images", "", "the file that says what stands in for images (default: made in the folder)")
	program := flags.String("narthex", "", "the program that stands in for the image narthex")
	attached := flags.Bool("while-stdin-is-open", false, "end the cluster at the end of standard input")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	state, err := prepare(*folder)
	if err != nil {
		return err
	}
	if *images == "" {
		*images = filepath.Join(state, "images.json")
		if err := writeImages(*images, *program); err != nil {
			return err
		}
	}
	// In the network of whoever starts it: the supervisor passes its connections on to the API server.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	outside, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	command := exec.Command("/proc/self/exe", SuperviseArgument, "--folder", state,
		"--nodes", strconv.Itoa(*nodes), "--images", *images,
		"--outside", "https://"+listener.Addr().String(), "--while-stdin-is-open="+strconv.FormatBool(*attached))
	command.ExtraFiles = []*os.File{outside}
	command.SysProcAttr = namespaces()
	if *attached {
		command.Stdin = os.Stdin
	}
	log, err := os.Create(filepath.Join(state, logName))
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return fmt.Errorf("namespaces cannot be made (%w): be root, or allow user namespaces "+
			"(sysctl kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0)", err)
	}
	pid := strconv.Itoa(command.Process.Pid)
	if err := os.WriteFile(filepath.Join(state, pidName), []byte(pid), 0o644); err != nil {
		return err
	}
	return untilReady(command, state)
}

// prepare makes an empty state folder; a cluster that runs in it is not disturbed.
func prepare(folder string) (string, error) {
	if folder == "" {
		return "", errors.New("--folder is needed")
	}
	state, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	if _, err := say(state, "ready"); err == nil {
		return "", fmt.Errorf("a cluster runs in %s already", state)
	}
	if err := os.RemoveAll(state); err != nil {
		return "", err
	}
	// Pods of other users pass through on their way to their volumes.
	return state, os.MkdirAll(state, 0o755)
}

func namespaces() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if user := os.Getuid(); user != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: user, Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attributes
}

func untilReady(command *exec.Cmd, state string) error {
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	deadline := time.After(patience)
	for {
		if _, err := say(state, "ready"); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the cluster did not start (%v):\n%s", err, tail(filepath.Join(state, logName)))
		case <-deadline:
			_ = command.Process.Kill()
			return fmt.Errorf("the cluster is not ready after %s:\n%s", patience, tail(filepath.Join(state, logName)))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tail(path string) string {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(bytes)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
