package services

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// world is what has to reach what.
type world struct {
	nodes     []string            // their addresses
	virtual   []string            // addresses that nothing but the table answers
	translate map[string][]string // "address . proto . port" to endpoints "address . port"
	endpoints []string            // addresses of all endpoints
}

func (p *Proxy) read() (*world, error) {
	w := &world{translate: map[string][]string{}}
	if err := p.readNodes(w); err != nil {
		return nil, err
	}
	all, err := p.Informers.Core().V1().Services().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	slicesOf, err := p.endpointSlices()
	if err != nil {
		return nil, err
	}
	for _, service := range all {
		w.add(service, slicesOf[service.Namespace+"/"+service.Name])
	}
	if err := p.readHostPorts(w); err != nil {
		return nil, err
	}
	slices.Sort(w.virtual)
	w.virtual = slices.Compact(w.virtual)
	slices.Sort(w.endpoints)
	w.endpoints = slices.Compact(w.endpoints)
	return w, nil
}

func (p *Proxy) endpointSlices() (map[string][]*discoveryv1.EndpointSlice, error) {
	all, err := p.Informers.Discovery().V1().EndpointSlices().Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	byService := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range all {
		if slice.AddressType == discoveryv1.AddressTypeIPv4 {
			key := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
			byService[key] = append(byService[key], slice)
		}
	}
	return byService, nil
}

func (w *world) add(service *corev1.Service, of []*discoveryv1.EndpointSlice) {
	addresses := slices.Clone(service.Spec.ExternalIPs)
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			addresses = append(addresses, ingress.IP)
		}
	}
	if address := service.Spec.ClusterIP; address != "" && address != corev1.ClusterIPNone {
		addresses = append(addresses, address)
	}
	w.virtual = append(w.virtual, addresses...)
	for _, port := range service.Spec.Ports {
		endpoints := w.ready(port.Name, of)
		if len(endpoints) == 0 {
			continue
		}
		protocol := strings.ToLower(string(port.Protocol))
		for _, address := range addresses {
			w.translate[fmt.Sprintf("%s . %s . %d", address, protocol, port.Port)] = endpoints
		}
		if port.NodePort == 0 {
			continue
		}
		for _, node := range w.nodes {
			w.translate[fmt.Sprintf("%s . %s . %d", node, protocol, port.NodePort)] = endpoints
		}
	}
}

// ready gives the endpoints of a port: the ready ones, or if there are none those that still serve.
func (w *world) ready(port string, of []*discoveryv1.EndpointSlice) []string {
	var ready, serving []string
	for _, slice := range of {
		for _, candidate := range slice.Ports {
			if candidate.Port == nil || candidate.Name != nil && *candidate.Name != port || candidate.Name == nil && port != "" {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				for _, address := range endpoint.Addresses {
					at := fmt.Sprintf("%s . %d", address, *candidate.Port)
					w.endpoints = append(w.endpoints, address)
					conditions := endpoint.Conditions
					if conditions.Ready == nil || *conditions.Ready {
						ready = append(ready, at)
					} else if conditions.Serving != nil && *conditions.Serving {
						serving = append(serving, at)
					}
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

func (p *Proxy) readNodes(w *world) error {
	nodes, err := p.Informers.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		return err
	}
	for _, node := range nodes {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				w.nodes = append(w.nodes, address.Address)
			}
		}
	}
	return nil
}

func (p *Proxy) readHostPorts(w *world) error {
	pods, err := p.Informers.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if pod.Status.PodIP == "" || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				if port.HostPort != 0 {
					key := fmt.Sprintf("%s . %s . %d", pod.Status.HostIP, strings.ToLower(string(port.Protocol)), port.HostPort)
					w.translate[key] = []string{fmt.Sprintf("%s . %d", pod.Status.PodIP, port.ContainerPort)}
					w.endpoints = append(w.endpoints, pod.Status.PodIP)
				}
			}
		}
	}
	return nil
}
