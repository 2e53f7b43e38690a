// rig runs a Kubernetes cluster on one machine: a control plane as processes, and nodes whose pods
// are processes in namespaces of their own.
//
//	rig start --folder DIR [--nodes N] …   start one and come back when pods can be made
//	rig stop --folder DIR                  end it
//	rig ask --folder DIR VERB…             say something to its control socket
//
// Programs do the same through DIR/control.sock; see package control.
package main

import (
	"fmt"
	"os"
	"runtime"

	"narthex.dev/rig/internal/cluster"
	"narthex.dev/rig/internal/container"
	"narthex.dev/rig/internal/launch"
)

// The network of this process is that of its first thread, to whoever enters it: no goroutine that
// goes into a pod's network may come to run there.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) < 2 {
		refuse("what to do?")
	}
	var err error
	switch arguments := os.Args[2:]; os.Args[1] {
	case "start":
		err = launch.Start(arguments)
	case "stop":
		err = launch.Stop(arguments)
	case "ask":
		err = launch.Ask(arguments)
	case launch.SuperviseArgument:
		err = cluster.Supervise(arguments)
	case container.InitArgument:
		container.Init()
	default:
		refuse("there is no `rig " + os.Args[1] + "`")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
}

func refuse(why string) {
	fmt.Fprintln(os.Stderr, why+"\nusage: rig start|stop|ask --folder DIR …")
	os.Exit(2)
}
