// Package relay stands between the API server and everything that reaches it from inside the
// cluster: pods and what tests run in the cluster's network. It makes the API server slow, or
// cuts connections, without touching the server or kubectl's own way to it.
package relay

import (
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Relay copies bytes between its listener and one address.
type Relay struct {
	to    string
	delay atomic.Int64 // nanoseconds before each piece that the server sent
	mu    sync.Mutex
	open  map[net.Conn]uint64 // both ends' numbers, so that a seed always picks the same
	count uint64
	stop  chan struct{} // of the repeated cuts; nil if there are none
}

// Listen relays connections of listener to an address until the process ends.
func Listen(listener net.Listener, to string) *Relay {
	r := &Relay{to: to, open: map[net.Conn]uint64{}}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go r.carry(client)
		}
	}()
	return r
}

// SetDelay makes each piece of an answer wait.
func (r *Relay) SetDelay(delay time.Duration) { r.delay.Store(int64(delay)) }

// Cut resets each open connection with a probability, in an order that the seed decides; how many.
func (r *Relay) Cut(seed uint64, probability float64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	connections := make([]net.Conn, 0, len(r.open))
	for connection := range r.open {
		connections = append(connections, connection)
	}
	slices.SortFunc(connections, func(a, b net.Conn) int { return int(r.open[a]) - int(r.open[b]) })
	random := rand.New(rand.NewPCG(seed, 0))
	cut := 0
	for _, connection := range connections {
		if random.Float64() < probability {
			reset(connection)
			cut++
		}
	}
	return cut
}

// CutEvery repeats Cut with one connection in two, until it is called with no period.
func (r *Relay) CutEvery(period time.Duration, seed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		close(r.stop)
		r.stop = nil
	}
	if period <= 0 {
		return
	}
	stop := make(chan struct{})
	r.stop = stop
	go func() {
		random := rand.New(rand.NewPCG(seed, 1))
		for {
			// Between half and one and a half of the period, so that it meets every phase of a client.
			wait := time.Duration((0.5 + random.Float64()) * float64(period))
			select {
			case <-stop:
				return
			case <-time.After(wait):
				r.Cut(random.Uint64(), 0.5)
			}
		}
	}()
}

func (r *Relay) carry(client net.Conn) {
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		// As a server that is not there: no orderly end.
		reset(client)
		return
	}
	r.mu.Lock()
	r.count++
	r.open[client] = r.count
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.open, client)
		r.mu.Unlock()
		_ = client.Close()
		_ = server.Close()
	}()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(server, client); done <- struct{}{} }()
	go func() { r.slowly(client, server); done <- struct{}{} }()
	// TLS ends in both directions at once: there are no half-open connections to keep.
	<-done
}

func (r *Relay) slowly(to io.Writer, from io.Reader) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if wait := time.Duration(r.delay.Load()); wait > 0 {
			time.Sleep(wait)
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func reset(connection net.Conn) {
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}
