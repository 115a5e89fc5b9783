// The control plane of the tests: etcd and three programs of Kubernetes in one binary, so that one build and one link
// serve all four. It takes the name of a program and that program's own flags.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	// Log formats and metrics register themselves, as in each program's own main.go.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("give etcd, kube-apiserver, kube-controller-manager, kube-scheduler or service-account-key"))
	}
	// Each program reads its flags from os.Args[1:].
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		run(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		run(scheduler.NewSchedulerCommand())
	case "service-account-key":
		if err := writeKey(os.Stdout); err != nil {
			fail(err)
		}
	default:
		fail(fmt.Errorf("there is no program %q", os.Args[0]))
	}
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
