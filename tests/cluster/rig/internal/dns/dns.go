// Package dns answers names of Services, as the cluster's DNS does:
// SERVICE.NAMESPACE.svc.cluster.local, and ENDPOINT.SERVICE… of headless ones.
package dns

import (
	"net"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
)

const zone = ".svc.cluster.local."

// Seconds that clients may keep an answer, as CoreDNS has it.
const ttl = 5

// Server knows Services and their endpoints from informers.
type Server struct {
	Informers informers.SharedInformerFactory
}

// Listen answers on an address over UDP and TCP until the process ends.
func (s *Server) Listen(address string) error {
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() { _ = (&dns.Server{PacketConn: packets, Handler: s}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{Listener: listener, Handler: s}).ActivateAndServe() }()
	return nil
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg).SetReply(query)
	answer.Authoritative = true
	if len(query.Question) == 1 {
		s.answer(answer, query.Question[0])
	}
	// A client that has gone has no need of an answer.
	_ = w.WriteMsg(answer)
}

func (s *Server) answer(answer *dns.Msg, question dns.Question) {
	name := strings.ToLower(question.Name)
	path, ours := strings.CutSuffix(name, zone)
	labels := strings.Split(path, ".")
	if !ours || len(labels) < 2 {
		answer.Rcode = dns.RcodeNameError
		return
	}
	service, err := s.Informers.Core().V1().Services().Lister().Services(labels[len(labels)-1]).Get(labels[len(labels)-2])
	if err != nil {
		answer.Rcode = dns.RcodeNameError
		return
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		target := dns.Fqdn(service.Spec.ExternalName)
		answer.Answer = append(answer.Answer, &dns.CNAME{Hdr: header(question.Name, dns.TypeCNAME), Target: target})
		if strings.HasSuffix(target, zone) && target != name {
			s.answer(answer, dns.Question{Name: target, Qtype: question.Qtype, Qclass: question.Qclass})
		}
		return
	}
	addresses := []string{service.Spec.ClusterIP}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		host := ""
		if len(labels) == 3 {
			host = labels[0]
		}
		addresses = s.endpoints(service, host)
	} else if len(labels) != 2 {
		addresses = nil
	}
	if len(addresses) == 0 {
		answer.Rcode = dns.RcodeNameError
		return
	}
	if question.Qtype != dns.TypeA && question.Qtype != dns.TypeANY {
		return // the name is there, with no record of that type
	}
	for _, address := range addresses {
		answer.Answer = append(answer.Answer, &dns.A{Hdr: header(question.Name, dns.TypeA), A: net.ParseIP(address)})
	}
}

// endpoints of a headless Service: the ready ones, or that of one host name.
func (s *Server) endpoints(service *corev1.Service, host string) []string {
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	all, err := s.Informers.Discovery().V1().EndpointSlices().Lister().EndpointSlices(service.Namespace).List(selector)
	if err != nil {
		return nil
	}
	var addresses []string
	for _, slice := range all {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready || service.Spec.PublishNotReadyAddresses
			named := host == "" || endpoint.Hostname != nil && *endpoint.Hostname == host
			if ready && named && slice.AddressType == discoveryv1.AddressTypeIPv4 {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
	}
	return addresses
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}
