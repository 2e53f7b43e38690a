package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init runs inside the new namespaces: reads its Spec from descriptor 3, makes the root, becomes
// the user and executes the program. It returns only if that fails; the exit code says so as
// container runtimes do.
func Init() {
	// Credentials are a thread's, and execve takes those of its caller.
	runtime.LockOSThread()
	err := become()
	fmt.Fprintln(os.Stderr, "container:", err)
	os.Exit(128)
}

func become() error {
	var spec Spec
	pipe := os.NewFile(3, "spec")
	if err := json.NewDecoder(pipe).Decode(&spec); err != nil {
		return err
	}
	_ = pipe.Close()
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := makeRoot(&spec); err != nil {
		return err
	}
	folder := spec.Folder
	if folder == "" {
		folder = "/"
	}
	if err := os.Chdir(folder); err != nil {
		return err
	}
	if err := dropPrivileges(&spec); err != nil {
		return err
	}
	if len(spec.Arguments) == 0 {
		return fmt.Errorf("no command and no entrypoint")
	}
	program, err := lookUp(spec.Arguments[0], spec.Env)
	if err != nil {
		return err
	}
	// The runtime of Go ignores no signal that a program would miss, but blocks none either: what
	// is inherited is the default.
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, spec.Arguments, spec.Env))
}

func lookUp(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	for folder := range strings.SplitSeq(path, ":") {
		candidate := filepath.Join(folder, name)
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%s: executable file not found in $PATH", name)
}
