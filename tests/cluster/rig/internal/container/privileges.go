package container

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What container runtimes leave a container that says nothing.
var defaults = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT,
	unix.CAP_SETFCAP, unix.CAP_AUDIT_WRITE, unix.CAP_MKNOD,
}

var byName = map[string]uintptr{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "FOWNER": unix.CAP_FOWNER,
	"FSETID": unix.CAP_FSETID, "KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID, "SETUID": unix.CAP_SETUID,
	"SETPCAP": unix.CAP_SETPCAP, "NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_RAW": unix.CAP_NET_RAW,
	"NET_ADMIN": unix.CAP_NET_ADMIN, "SYS_CHROOT": unix.CAP_SYS_CHROOT, "SYS_ADMIN": unix.CAP_SYS_ADMIN,
	"SYS_PTRACE": unix.CAP_SYS_PTRACE, "SETFCAP": unix.CAP_SETFCAP, "AUDIT_WRITE": unix.CAP_AUDIT_WRITE,
	"MKNOD": unix.CAP_MKNOD,
}

// Capabilities gives what is left of the defaults after `capabilities.drop` and `.add`.
func Capabilities(drop, add []string) ([]uintptr, error) {
	kept := map[uintptr]bool{}
	for _, capability := range defaults {
		kept[capability] = true
	}
	for _, name := range drop {
		if strings.EqualFold(name, "ALL") {
			clear(kept)
		} else if capability, ok := byName[plain(name)]; ok {
			delete(kept, capability)
		} else {
			return nil, fmt.Errorf("capabilities.drop: %q is not known to the rig", name)
		}
	}
	for _, name := range add {
		capability, ok := byName[plain(name)]
		if !ok {
			return nil, fmt.Errorf("capabilities.add: %q is not known to the rig", name)
		}
		kept[capability] = true
	}
	list := make([]uintptr, 0, len(kept))
	for capability := range kept {
		list = append(list, capability)
	}
	return list, nil
}

func plain(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// dropPrivileges makes this thread the container's user. Capabilities of root follow from the
// bounding set at execve; another user has none, as with container runtimes.
func dropPrivileges(spec *Spec) error {
	kept := map[uintptr]bool{}
	for _, capability := range spec.Capabilities {
		kept[capability] = true
	}
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if kept[capability] {
			continue
		}
		// A kernel that knows fewer than we do says EINVAL for the rest.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("capability %d: %w", capability, err)
		}
	}
	if spec.Users {
		if err := setIDs(spec); err != nil {
			return err
		}
	}
	if spec.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no_new_privs: %w", err)
		}
	}
	return nil
}

// setIDs sets the ids of this thread only: it is the one that executes the program.
func setIDs(spec *Spec) error {
	groups := make([]uint32, 0, len(spec.Groups))
	for _, group := range spec.Groups {
		groups = append(groups, uint32(group))
	}
	var first uintptr
	if len(groups) > 0 {
		first = uintptr(unsafe.Pointer(&groups[0]))
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), first, 0); errno != 0 {
		return fmt.Errorf("groups: %w", errno)
	}
	group, user := uintptr(spec.Group), uintptr(spec.User)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, group, group, group); errno != 0 {
		return fmt.Errorf("group %d: %w", spec.Group, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, user, user, user); errno != 0 {
		return fmt.Errorf("user %d: %w", spec.User, errno)
	}
	return nil
}
