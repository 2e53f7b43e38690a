// Package cluster puts a cluster together, as the first process of its namespaces.
package cluster

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"narthex.dev/rig/internal/certs"
	"narthex.dev/rig/internal/control"
	"narthex.dev/rig/internal/dns"
	"narthex.dev/rig/internal/node"
	"narthex.dev/rig/internal/plane"
	"narthex.dev/rig/internal/relay"
	"narthex.dev/rig/internal/scheduler"
	"narthex.dev/rig/internal/services"
)

// Supervise runs a cluster until it is told to end. It is the first process of a PID namespace:
// its end is the end of all.
func Supervise(arguments []string) error {
	flags := flag.NewFlagSet("supervise", flag.ExitOnError)
	folder := flags.String("folder", "", "where its state is kept")
	nodes := flags.Int("nodes", 1, "how many nodes")
	images := flags.String("images", "", "the file that says what stands in for images")
	outside := flags.String("outside", "", "URL at which the listener in descriptor 3 is reached")
	attached := flags.Bool("while-stdin-is-open", false, "end at the end of standard input")
	wiped := flags.Bool(again, false, "the namespaces and certificates are there from before a wipe")
	ended := flags.Bool(over, false, "nothing is to be left of what ran before")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	c := &cluster{folder: *folder, images: *images, nodes: *nodes, outside: *outside, began: time.Now()}
	if *ended {
		// Whatever does not end now ends with us.
		if err := killAll(); err != nil {
			log.Print(err)
		}
		return c.clear(".")
	}
	if *attached {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			c.end()
		}()
	}
	go func() {
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
		<-told
		c.end()
	}()
	if *wiped {
		if err := killAll(); err != nil {
			return err
		}
		if err := c.clear("etcd", "pods"); err != nil {
			return err
		}
	} else {
		if err := isolate(); err != nil {
			return err
		}
		if err := makeNetwork(*nodes); err != nil {
			return err
		}
		if err := c.credentials(); err != nil {
			return err
		}
	}
	if err := c.run(); err != nil {
		return err
	}
	select {}
}

// inherited is the listener that the launcher opened in its own network. It is kept, or it would be
// closed by the garbage collector and missing after a wipe.
var inherited = os.NewFile(3, "outside")

type cluster struct {
	folder, images, outside string
	nodes                   int
	began                   time.Time
}

func (c *cluster) file(name string) string { return filepath.Join(c.folder, name) }

// credentials are written once: a wiped store does not change them.
func (c *cluster) credentials() error {
	addresses := []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(apiService), net.ParseIP(gateway)}
	if err := certs.Write(c.folder, addresses); err != nil {
		return err
	}
	for name, server := range map[string]string{
		"kubeconfig":        c.outside,
		"kubeconfig-inside": fmt.Sprintf("https://%s:%d", gateway, apiPort),
		"kubeconfig-rig":    fmt.Sprintf("https://127.0.0.1:%d", apiPort),
	} {
		text, err := certs.Kubeconfig(c.folder, server)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.file(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) run() error {
	ctx := context.Background()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	running := &plane.Plane{Folder: c.folder, Program: filepath.Join(filepath.Dir(self), "kube"),
		Port: apiPort, Advertise: gateway, Services: serviceRange}
	starting, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	if err := running.Start(starting); err != nil {
		return err
	}
	log.Printf("the control plane is ready after %.1f s", time.Since(c.began).Seconds())
	inside, err := c.relays()
	if err != nil {
		return err
	}
	tokens := &node.Tokens{Key: c.file(certs.AccountKey)}
	if err := c.workers(ctx, tokens); err != nil {
		return err
	}
	log.Printf("all is ready after %.1f s", time.Since(c.began).Seconds())
	go watch(running)
	server := &control.Server{Plane: running, Relay: inside, Tokens: tokens, Wipe: c.wipe, End: c.end}
	return server.Listen(c.file(socket))
}

// watch says it when a part of the control plane ends that nobody has killed.
func watch(running *plane.Plane) {
	for range time.Tick(time.Second) {
		if err := running.Died(); err != nil {
			log.Printf("THE CLUSTER IS BROKEN: %v", err)
			return
		}
	}
}

// relays gives the one that can be disturbed: from inside.
func (c *cluster) relays() (*relay.Relay, error) {
	to := fmt.Sprintf("127.0.0.1:%d", apiPort)
	outside, err := net.FileListener(inherited)
	if err != nil {
		return nil, err
	}
	relay.Listen(outside, to)
	inside, err := net.Listen("tcp", fmt.Sprintf("%s:%d", gateway, apiPort))
	if err != nil {
		return nil, err
	}
	return relay.Listen(inside, to), nil
}

// workers starts what makes pods run and reachable.
func (c *cluster) workers(ctx context.Context, tokens *node.Tokens) error {
	klog.SetOutput(log.Writer())
	config, err := clientcmd.BuildConfigFromFlags("", c.file("kubeconfig-rig"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, 0 // no limit of our own
	config.Wrap(func(below http.RoundTripper) http.RoundTripper { return patient{below} })
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	proxy := &services.Proxy{Client: client, Informers: factory, Pool: netip.MustParsePrefix(loadBalancers)}
	if err := proxy.Run(ctx); err != nil {
		return err
	}
	binder := &scheduler.Scheduler{Client: client, Informers: factory}
	if err := binder.Run(ctx); err != nil {
		return err
	}
	names := &dns.Server{Informers: factory}
	if err := names.Listen(net.JoinHostPort(dnsService, "53")); err != nil {
		return err
	}
	shared := &node.Shared{Client: client, Informers: factory, Images: &node.Images{Path: c.images}, Tokens: tokens,
		Network: node.NewNetwork(bridge, netip.MustParseAddr(gateway), netip.MustParseAddr(firstPod), netip.MustParseAddr(lastPod)),
		Folder:  c.file("pods"), DNS: dnsService, Users: manyUsers()}
	factory.Core().V1().ConfigMaps().Informer()
	factory.Core().V1().Secrets().Informer()
	for index := range c.nodes {
		worker := &node.Node{Shared: shared, Name: nodeName(index), Address: nodeAddress(index)}
		if err := worker.Run(ctx, c.file(certs.Server+".crt"), c.file(certs.Server+".key")); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	waiting, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	// The first thing that a pod with a ServiceAccount asks.
	return proxy.Until(waiting, apiService, 443)
}
