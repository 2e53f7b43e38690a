// kube is the control plane and its client in one binary: etcd, kube-apiserver,
// kube-controller-manager and kubectl share most of their code, and one link is a third of four.
//
//	kube etcd|kube-apiserver|kube-controller-manager|kubectl ARGUMENTS…
//	kubectl ARGUMENTS…      through a link of that name
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	part := filepath.Base(os.Args[0])
	if part != "kubectl" {
		if len(os.Args) < 2 {
			refuse("which part?")
		}
		part = os.Args[1]
		os.Args = append([]string{part}, os.Args[2:]...)
	}
	switch part {
	case "etcd":
		if err := runEtcd(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "etcd:", err)
			os.Exit(1)
		}
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	default:
		refuse("there is no part " + part)
	}
}

func refuse(why string) {
	fmt.Fprintln(os.Stderr, why+"\nusage: kube etcd|kube-apiserver|kube-controller-manager|kubectl ARGUMENTS…")
	os.Exit(2)
}
