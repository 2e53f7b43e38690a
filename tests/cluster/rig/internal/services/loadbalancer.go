package services

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// none in the place of an address: the one that a Service wants cannot be had.
const none = ""

// assign gives each Service of type LoadBalancer an address, and takes it from those that are of
// another type now. One that names an address gets that or none, until it can be had. Services with
// a class belong to somebody else.
func (p *Proxy) assign(ctx context.Context) error {
	services, err := p.Informers.Core().V1().Services().Lister().List(labels.Everything())
	if err != nil {
		return err
	}
	p.remember(services)
	taken := map[string]bool{}
	for address := range maps.Values(p.given) {
		taken[address] = true
	}
	for _, service := range services {
		current, known := p.given[service.UID]
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
			if current != none {
				if err := p.publish(ctx, service, none); err != nil {
					return err
				}
			}
			continue
		}
		wanted := service.Spec.LoadBalancerIP
		fits := current != none && (wanted == "" || wanted == current)
		if fits || service.Spec.LoadBalancerClass != nil {
			continue
		}
		delete(taken, current)
		address, err := p.free(wanted, taken)
		if err != nil {
			return err
		}
		taken[address] = true
		if known && address == current {
			continue
		}
		if address == none {
			log.Printf("%s/%s waits for the address %s", service.Namespace, service.Name, wanted)
		}
		if err := p.publish(ctx, service, address); err != nil {
			return err
		}
	}
	return nil
}

// remember knows which Service has which address. What was published counts before it is seen, or a
// Service would get a second address in the meantime.
func (p *Proxy) remember(services []*corev1.Service) {
	there := map[types.UID]bool{}
	for _, service := range services {
		there[service.UID] = true
		if _, known := p.given[service.UID]; known {
			continue
		}
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			p.given[service.UID] = ingress.IP
		}
	}
	maps.DeleteFunc(p.given, func(uid types.UID, _ string) bool { return !there[uid] })
}

func (p *Proxy) free(wanted string, taken map[string]bool) (string, error) {
	if wanted != "" {
		address, err := netip.ParseAddr(wanted)
		if err == nil && p.Pool.Contains(address) && !taken[wanted] {
			return wanted, nil
		}
		return none, nil
	}
	for address := p.Pool.Addr().Next(); p.Pool.Contains(address); address = address.Next() {
		if !taken[address.String()] {
			return address.String(), nil
		}
	}
	return none, fmt.Errorf("no address of %s is free", p.Pool)
}

func (p *Proxy) publish(ctx context.Context, service *corev1.Service, address string) error {
	ingress := []corev1.LoadBalancerIngress{}
	if address != none {
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: address})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	if err != nil {
		return err
	}
	_, err = p.Client.CoreV1().Services(service.Namespace).Patch(ctx, service.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err == nil {
		p.given[service.UID] = address
	}
	return err
}
