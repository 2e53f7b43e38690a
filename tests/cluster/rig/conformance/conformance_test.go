// Package conformance is Gateway API's own suite as a program: what it runs is upstream's, from its
// module. It has to run in the cluster's network, since it dials Gateways' addresses.
package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/consts"
	"sigs.k8s.io/gateway-api/pkg/features"
)

var (
	describe = flag.Bool("describe", false, "print what the suite has as JSON, and run nothing")
	only     = flag.String("only", "", "run the tests with these names, comma separated, and know of no others")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !*describe {
		os.Exit(m.Run())
	}
	if err := json.NewEncoder(os.Stdout).Encode(described()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestConformance runs upstream's suite with upstream's flags.
func TestConformance(t *testing.T) {
	if *only != "" {
		names := strings.Split(*only, ",")
		tests.ConformanceTests = slices.DeleteFunc(tests.ConformanceTests, func(test suite.ConformanceTest) bool {
			return !slices.Contains(names, test.ShortName)
		})
	}
	conformance.RunConformance(t)
}

// content is what this version of the suite has.
type content struct {
	Version  string    `json:"version"`
	Profiles []profile `json:"profiles"`
	// Features that only a mesh can have.
	Mesh []features.FeatureName `json:"mesh"`
	// Features by the name of their channel.
	Features map[features.FeatureName]features.FeatureChannel `json:"features"`
	Tests    []test                                           `json:"tests"`
}

type profile struct {
	Name     suite.ConformanceProfileName `json:"name"`
	Core     []features.FeatureName       `json:"core"`
	Extended []features.FeatureName       `json:"extended"`
}

type test struct {
	Name        string                 `json:"name"`
	Features    []features.FeatureName `json:"features"`
	Provisional bool                   `json:"provisional"`
	Parallel    bool                   `json:"parallel"`
}

func described() content {
	all := content{Version: consts.BundleVersion, Features: map[features.FeatureName]features.FeatureChannel{}}
	for _, one := range []suite.ConformanceProfile{
		suite.GatewayHTTPConformanceProfile, suite.GatewayGRPCConformanceProfile, suite.GatewayTLSConformanceProfile,
		suite.GatewayTCPConformanceProfile, suite.GatewayUDPConformanceProfile,
	} {
		all.Profiles = append(all.Profiles, profile{one.Name, sorted(one.CoreFeatures.UnsortedList()), sorted(one.ExtendedFeatures.UnsortedList())})
	}
	all.Mesh = sorted(features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures).UnsortedList())
	for _, feature := range features.AllFeatures.UnsortedList() {
		all.Features[feature.Name] = feature.Channel
	}
	for _, one := range tests.ConformanceTests {
		all.Tests = append(all.Tests, test{one.ShortName, sorted(slices.Clone(one.Features)), one.Provisional, one.Parallel})
	}
	slices.SortFunc(all.Tests, func(a, b test) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func sorted(names []features.FeatureName) []features.FeatureName {
	slices.Sort(names)
	return names
}
