// whoami is a DNS server that stands in for CoreDNS in pods: it answers every name with the address
// of whoever asked, as CoreDNS's plugin of that name does. It takes CoreDNS's arguments.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/miekg/dns"
)

func main() {
	_ = flag.String("conf", "", "not read: every name is answered")
	address := flag.String("address", ":53", "where to listen, over UDP and TCP")
	flag.Parse()
	ended := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		server := &dns.Server{Addr: *address, Net: network, Handler: dns.HandlerFunc(answer)}
		go func() { ended <- server.ListenAndServe() }()
	}
	fmt.Fprintln(os.Stderr, "whoami:", <-ended)
	os.Exit(1)
}

func answer(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	host, _, err := net.SplitHostPort(w.RemoteAddr().String())
	if err == nil && len(query.Question) == 1 {
		name := query.Question[0].Name
		header := dns.RR_Header{Name: name, Class: dns.ClassINET}
		if address := net.ParseIP(host); address.To4() != nil {
			header.Rrtype = dns.TypeA
			reply.Extra = append(reply.Extra, &dns.A{Hdr: header, A: address})
		} else {
			header.Rrtype = dns.TypeAAAA
			reply.Extra = append(reply.Extra, &dns.AAAA{Hdr: header, AAAA: address})
		}
		fmt.Println(host, name)
	}
	// A client that has gone has no need of an answer.
	_ = w.WriteMsg(reply)
}
