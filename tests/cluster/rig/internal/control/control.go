// Package control is how tests and people reach into a cluster: a socket in its folder. A
// connection carries one line and is answered with one, `ok …` or `error …`:
//
//	ready                            whether pods can be made
//	CONNECT ADDRESS:PORT             afterwards, a connection to there from inside the cluster
//	apiserver kill|start|stop|cont   the API server is gone, is back, hangs, goes on
//	etcd wipe                        all objects are gone, all pods too; the socket is back when ready
//	relay delay MILLISECONDS         each piece of the API server's answers waits, for all but kubectl from outside
//	relay cut SEED PROBABILITY       connections to the API server are reset
//	relay cut-every MILLISECONDS SEED   the same again and again; 0 ends it
//	tokens SECONDS                   new ServiceAccount tokens in all pods, for so long each; 0: as pods say
//	pids                             the control plane's processes, inside the PID namespace
//	down                             the end
package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"narthex.dev/rig/internal/node"
	"narthex.dev/rig/internal/plane"
	"narthex.dev/rig/internal/relay"
)

// Server answers on the socket.
type Server struct {
	Plane  *plane.Plane
	Relay  *relay.Relay
	Tokens *node.Tokens
	// Wipe does not return: another supervisor takes the place of this one.
	Wipe func() error
	// End does not return.
	End func()
}

// Listen answers at a path until the process ends.
func (s *Server) Listen(path string) error {
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(connection)
		}
	}()
	return nil
}

func (s *Server) serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line)
	if len(words) == 2 && words[0] == "CONNECT" {
		connect(connection, reader, words[1])
		return
	}
	if strings.Join(words, " ") == "etcd wipe" {
		// Nobody of us is there afterwards: the end of this connection says that it has begun, and
		// the next socket that it is done.
		log.Printf("wipe: %v", s.Wipe())
		return
	}
	answer, err := s.do(words)
	if err != nil {
		fmt.Fprintln(connection, "error", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Fprintln(connection, strings.TrimSpace("ok "+answer))
	if len(words) == 1 && words[0] == "down" {
		_ = connection.Close()
		s.End()
	}
}

func (s *Server) do(words []string) (string, error) {
	argument := func(index int) string {
		if index < len(words) {
			return words[index]
		}
		return ""
	}
	number := func(index int) (uint64, error) { return strconv.ParseUint(argument(index), 10, 64) }
	switch argument(0) + " " + argument(1) {
	case "ready ", "down ":
		return "", nil
	case "pids ":
		return fmt.Sprint(s.Plane.Pids()), nil
	case "relay delay":
		milliseconds, err := number(2)
		if err == nil {
			s.Relay.SetDelay(time.Duration(milliseconds) * time.Millisecond)
		}
		return "", err
	case "relay cut":
		seed, err := number(2)
		if err != nil {
			return "", err
		}
		probability, err := strconv.ParseFloat(argument(3), 64)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(s.Relay.Cut(seed, probability)), nil
	case "relay cut-every":
		milliseconds, err := number(2)
		if err != nil {
			return "", err
		}
		seed, err := number(3)
		if err == nil || milliseconds == 0 {
			s.Relay.CutEvery(time.Duration(milliseconds)*time.Millisecond, seed)
			return "", nil
		}
		return "", err
	}
	switch argument(0) {
	case "apiserver":
		ctx, done := context.WithTimeout(context.Background(), 2*time.Minute)
		defer done()
		return "", s.Plane.Apiserver(ctx, argument(1))
	case "tokens":
		seconds, err := number(1)
		if err == nil {
			s.Tokens.SetLife(time.Duration(seconds) * time.Second)
		}
		return "", err
	}
	return "", fmt.Errorf("%q is not understood", strings.Join(words, " "))
}

func connect(client net.Conn, sent io.Reader, address string) {
	server, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		fmt.Fprintln(client, "error", err)
		return
	}
	defer server.Close()
	fmt.Fprintln(client, "ok")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, sent)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	// The server has ended: what the client still sends reaches nobody.
	_ = client.Close()
	<-done
}
