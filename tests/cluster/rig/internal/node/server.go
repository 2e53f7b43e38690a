package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"narthex.dev/rig/internal/container"
)

// Streams of exec and port-forward that nobody uses end after this.
const (
	idle     = 4 * time.Hour
	creation = 30 * time.Second
)

// serve answers what the API server asks a kubelet for users: logs, exec, attach's refusal and
// port-forward.
func (n *Node) serve(certificate, key string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.logs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", n.exec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", n.forward)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	listener, err := net.Listen("tcp", net.JoinHostPort(n.Address.String(), strconv.Itoa(port)))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.ServeTLS(listener, certificate, key) }()
	return nil
}

// asked finds the container that a request's path names.
func (n *Node) asked(request *http.Request) (*runner, error) {
	namespace, name := request.PathValue("namespace"), request.PathValue("pod")
	found := n.find(namespace, name)
	if found == nil {
		return nil, fmt.Errorf("pod %s/%s does not run on %s", namespace, name, n.Name)
	}
	return found.runner(request.PathValue("container"))
}

func (n *Node) exec(w http.ResponseWriter, request *http.Request) {
	r, err := n.asked(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := remotecommand.NewOptions(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, request, executor{r}, r.pod.name, string(r.pod.uid), r.spec.Name,
		request.URL.Query()["command"], options, idle, creation, remotecommand.SupportedStreamingProtocols)
}

type executor struct{ *runner }

// ExecInContainer implements remotecommand.Executor.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, arguments []string, in io.Reader, out, err io.WriteCloser,
	terminal bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	command, failed := e.enter(arguments)
	if failed != nil {
		return failed
	}
	if terminal {
		return runTerminal(ctx, command, in, out, resize)
	}
	command.Stdout, command.Stderr = writer(out), writer(err)
	if in != nil {
		// Not command.Stdin: Wait would wait for a reader that ends only with the connection.
		pipe, failed := command.StdinPipe()
		if failed != nil {
			return failed
		}
		go func() {
			_, _ = io.Copy(pipe, in)
			_ = pipe.Close()
		}()
	}
	return exitCode(runGroup(ctx, command))
}

// writer keeps a nil pointer from becoming an interface that is not nil.
func writer(to io.WriteCloser) io.Writer {
	if to == nil {
		return io.Discard
	}
	return to
}

// exitCode says how a command ended in the words that the streaming protocol knows.
func exitCode(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

func (n *Node) forward(w http.ResponseWriter, request *http.Request) {
	namespace, name := request.PathValue("namespace"), request.PathValue("pod")
	found := n.find(namespace, name)
	if found == nil {
		http.Error(w, "no such pod", http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, request, forwarder{found}, name, string(found.uid), options, idle, creation, portforward.SupportedProtocols)
}

type forwarder struct{ *pod }

// PortForward implements portforward.PortForwarder: to the loopback address of the pod.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	var connection net.Conn
	err := container.InNetwork(f.netns, func() (err error) {
		connection, err = net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		return err
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(connection, stream)
		if half, ok := connection.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, connection)
	return err
}
