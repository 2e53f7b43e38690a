package cluster

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is the control socket's name in the cluster's folder.
const socket = "control.sock"

// Flags that follow the program's own when it takes its own place, to begin anew or to end.
const (
	again = "again"
	over  = "over"
)

// end ends every process of the cluster, leaves no file, and exits.
func (c *cluster) end() { log.Fatal(c.takeOver(over)) }

// wipe ends every process but this one, throws the store away, and starts anew in its own place:
// nothing that remembers the old objects is left.
func (c *cluster) wipe() error { return c.takeOver(again) }

// takeOver runs this program anew in this process. Nothing of ours is at work then: no node starts a
// container again that is being killed, and nobody writes a file into a folder that is being
// removed. It returns only if it fails. Nobody can ask for anything any more.
func (c *cluster) takeOver(how string) error {
	if err := os.Remove(c.file(socket)); err != nil && !os.IsNotExist(err) {
		return err
	}
	isAgain := func(one string) bool { return one == "--"+again }
	arguments := slices.DeleteFunc(slices.Clone(os.Args), isAgain)
	return syscall.Exec("/proc/self/exe", append(arguments, "--"+how), os.Environ())
}

// clear throws away what those that ran have left in these files of the cluster.
func (c *cluster) clear(names ...string) error {
	c.unmount()
	for _, name := range names {
		if err := discard(c.file(name)); err != nil {
			return err
		}
	}
	return nil
}

// killAll kills all processes of the PID namespace but ours.
func killAll() error {
	if err := syscall.Kill(-1, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing all: %w", err)
	}
	// What is killed holds its ports until it has ended. All that end are our children: we are the
	// first process here.
	for range 1000 {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return nil
		}
		if pid <= 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return errors.New("what was killed does not end")
}

// unmount lets go of volumes and network namespaces.
func (c *cluster) unmount() {
	volumes, _ := filepath.Glob(c.file("pods/*/volumes/*"))
	for _, volume := range volumes {
		// Not every volume is a mount.
		_ = unix.Unmount(volume, unix.MNT_DETACH)
	}
	namespaces, _ := filepath.Glob("/run/netns/*")
	for _, namespace := range namespaces {
		_ = unix.Unmount(namespace, unix.MNT_DETACH)
		_ = os.Remove(namespace)
	}
}

// discard removes a folder while killed processes let go of it.
func discard(folder string) error {
	var err error
	for range 250 {
		if err = os.RemoveAll(folder); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the old state cannot be removed: %w", err)
}
