package services

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// assign gives each Service of type LoadBalancer an address, and takes it from those that are of
// another type now. Services with a class belong to somebody else.
func (p *Proxy) assign(ctx context.Context) error {
	services, err := p.Informers.Core().V1().Services().Lister().List(labels.Everything())
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, service := range services {
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			taken[ingress.IP] = true
		}
	}
	for _, service := range services {
		has := len(service.Status.LoadBalancer.Ingress) > 0
		wants := service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.Spec.LoadBalancerClass == nil
		switch {
		case wants && !has:
			address, err := p.free(service.Spec.LoadBalancerIP, taken)
			if err != nil {
				return err
			}
			taken[address] = true
			if err := p.publish(ctx, service, []corev1.LoadBalancerIngress{{IP: address}}); err != nil {
				return err
			}
		case has && service.Spec.Type != corev1.ServiceTypeLoadBalancer:
			if err := p.publish(ctx, service, []corev1.LoadBalancerIngress{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Proxy) free(wanted string, taken map[string]bool) (string, error) {
	if address, err := netip.ParseAddr(wanted); err == nil && p.Pool.Contains(address) && !taken[wanted] {
		return wanted, nil
	}
	for address := p.Pool.Addr().Next(); p.Pool.Contains(address); address = address.Next() {
		if !taken[address.String()] {
			return address.String(), nil
		}
	}
	return "", fmt.Errorf("no address of %s is free", p.Pool)
}

func (p *Proxy) publish(ctx context.Context, service *corev1.Service, ingress []corev1.LoadBalancerIngress) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	if err != nil {
		return err
	}
	_, err = p.Client.CoreV1().Services(service.Namespace).Patch(ctx, service.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
