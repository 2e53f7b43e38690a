package cluster

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is the control socket's name in the cluster's folder.
const socket = "control.sock"

// end ends every process of the cluster, leaves no file, and exits.
func (c *cluster) end() {
	if err := c.killAll(); err != nil {
		log.Print(err)
	}
	c.unmount()
	if err := discard(c.folder); err != nil {
		log.Print(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// wipe ends every process but this one, throws the store away, and starts anew in its own place:
// nothing that remembers the old objects is left.
func (c *cluster) wipe() error {
	if err := c.killAll(); err != nil {
		return err
	}
	c.unmount()
	for _, name := range []string{"etcd", "pods"} {
		if err := discard(c.file(name)); err != nil {
			return err
		}
	}
	arguments := append(append([]string{}, os.Args...), "--again")
	return syscall.Exec("/proc/self/exe", arguments, os.Environ())
}

// killAll kills all processes of the PID namespace but ours; nobody can ask for anything any more.
func (c *cluster) killAll() error {
	if err := os.Remove(c.file(socket)); err != nil && !os.IsNotExist(err) {
		return err
	}
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
