package container

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeRoot fills the root, enters it, and lets go of the host's.
func makeRoot(spec *Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	// pivot_root wants a mount point.
	if err := unix.Mount(spec.Root, spec.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := hostFolders(spec); err != nil {
		return err
	}
	if err := devices(spec.Root); err != nil {
		return err
	}
	if err := processes(spec.Root); err != nil {
		return err
	}
	for _, mount := range spec.Mounts {
		if err := bind(mount.From, filepath.Join(spec.Root, mount.To), mount.ReadOnly); err != nil {
			return fmt.Errorf("%s: %w", mount.To, err)
		}
	}
	if err := os.Chdir(spec.Root); err != nil {
		return err
	}
	// The old root on top of the new one, and away with it: no folder is needed for it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	if spec.ReadOnly {
		return readOnly("/")
	}
	return nil
}

// hostFolders shows the host's libraries, which dynamically linked programs need, or all of /usr.
func hostFolders(spec *Spec) error {
	shown := []string{"/usr/lib", "/usr/lib64", "/usr/share/zoneinfo"}
	if spec.Host {
		shown = []string{"/usr", "/etc/alternatives"}
	}
	shown = append(shown, "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ssl")
	if spec.Host {
		shown = append(shown, "/bin", "/sbin")
	}
	for _, path := range shown {
		info, err := os.Lstat(path)
		if err != nil {
			continue
		}
		at := filepath.Join(spec.Root, path)
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, at); err != nil && !os.IsExist(err) {
				return err
			}
			continue
		}
		if err := bind(path, at, true); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func devices(root string) error {
	dev := filepath.Join(root, "dev")
	if err := os.MkdirAll(dev, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+name, filepath.Join(dev, name), false); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	shm := filepath.Join(dev, "shm")
	if err := os.Mkdir(shm, 0o777); err != nil {
		return err
	}
	return unix.Mount("tmpfs", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=64m")
}

// processes mounts /proc of the new PID namespace. A sandbox that hides parts of its own /proc
// does not let us; there, what it has is shown.
func processes(root string) error {
	proc := filepath.Join(root, "proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		return err
	}
	if unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") == nil {
		return nil
	}
	return unix.Mount("/proc", proc, "", unix.MS_BIND|unix.MS_REC, "")
}

func bind(from, to string, only bool) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
		var file *os.File
		if file, err = os.OpenFile(to, os.O_CREATE, 0o644); err == nil {
			_ = file.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if only {
		return readOnly(to)
	}
	return nil
}

// readOnly keeps the other flags of the mount: in a user namespace they may not be taken away.
func readOnly(path string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	for have, keep := range map[int64]uintptr{
		unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC,
		unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME,
	} {
		if stat.Flags&have != 0 {
			flags |= keep
		}
	}
	return unix.Mount("", path, "", flags, "")
}
