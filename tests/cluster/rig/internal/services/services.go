// Package services makes addresses of Services reach endpoints, as kube-proxy does: one nftables
// table that is written anew whenever Services, endpoints or host ports change. It also hands out
// addresses to Services of type LoadBalancer.
package services

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Proxy keeps the table.
type Proxy struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Addresses for Services of type LoadBalancer: all of this prefix but the first.
	Pool netip.Prefix

	changed chan struct{}
	given   map[types.UID]string // addresses of load balancers, as published last
	last    string
	written atomic.Pointer[world]
}

// Until waits for a Service's address to have endpoints behind it.
func (p *Proxy) Until(ctx context.Context, address string, port int) error {
	key := fmt.Sprintf("%s . tcp . %d", address, port)
	for {
		if w := p.written.Load(); w != nil && len(w.translate[key]) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s:%d has no endpoints: %w", address, port, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Run watches and writes until the context ends.
func (p *Proxy) Run(ctx context.Context) error {
	p.changed = make(chan struct{}, 1)
	p.given = map[types.UID]string{}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.touch() },
		UpdateFunc: func(any, any) { p.touch() },
		DeleteFunc: func(any) { p.touch() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		p.Informers.Core().V1().Services().Informer(), p.Informers.Core().V1().Nodes().Informer(),
		p.Informers.Core().V1().Pods().Informer(), p.Informers.Discovery().V1().EndpointSlices().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	go p.loop(ctx)
	return nil
}

func (p *Proxy) touch() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Proxy) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		began := time.Now()
		if err := p.assign(ctx); err != nil {
			log.Printf("addresses of load balancers: %v", err)
			time.AfterFunc(300*time.Millisecond, p.touch)
		}
		if err := p.write(); err != nil {
			log.Printf("nftables: %v", err)
			time.AfterFunc(time.Second, p.touch)
		}
		// Never all the time, however many Services there are and change.
		time.Sleep(max(20*time.Millisecond, 2*time.Since(began)))
	}
}

func (p *Proxy) write() error {
	services, err := p.read()
	if err != nil {
		return err
	}
	table := services.table()
	if table == p.last {
		return nil
	}
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(table)
	if output, err := command.CombinedOutput(); err != nil {
		log.Printf("nft: %s", output)
		return err
	}
	p.last = table
	p.written.Store(services)
	return nil
}
