package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// manifest is what these tests read of an object of Kubernetes. That every field
// is one is for `make manifests`, which has the schemas.
type manifest struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Spec     struct {
		Replicas *int
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template       podTemplate
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		Metrics        []struct {
			Pods struct{ Metric struct{ Name string } }
		}
		PodSelector struct {
			MatchLabels      map[string]string           `yaml:"matchLabels"`
			MatchExpressions []struct{ Values []string } `yaml:"matchExpressions"`
		} `yaml:"podSelector"`
		Ingress []struct{ Ports []struct{ Port any } }
	}
}

type podTemplate struct {
	Metadata struct{ Labels map[string]string }
	Spec     struct {
		Grace           int `yaml:"terminationGracePeriodSeconds"`
		SecurityContext struct {
			RunAsNonRoot bool `yaml:"runAsNonRoot"`
		} `yaml:"securityContext"`
		Containers []*container
	}
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name, Value string }
	EnvFrom     []any `yaml:"envFrom"`
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	StartupProbe   *podProbe `yaml:"startupProbe"`
	ReadinessProbe *podProbe `yaml:"readinessProbe"`
	LivenessProbe  *podProbe `yaml:"livenessProbe"`
	Lifecycle      struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct{ Drop []string }
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type podProbe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// built is the example as kustomize builds it, once for all tests.
var built = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command("kustomize", "build", filepath.Join(repo, "deploy/kubernetes/overlays/example"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(err, errors.New(stderr.String()), errors.New("make tools installs kustomize"))
	}
	return out, err
})

func manifests(t *testing.T) []*manifest {
	t.Helper()
	text, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var all []*manifest
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var m manifest
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, &m)
	}
	if len(all) < 20 {
		t.Fatalf("kustomize built %d objects", len(all))
	}
	return all
}

// workloads returns what runs pods, by the label that names it.
func workloads(t *testing.T) map[string]*manifest {
	t.Helper()
	found := map[string]*manifest{}
	for _, m := range manifests(t) {
		if m.Kind == "Deployment" || m.Kind == "StatefulSet" {
			found[m.Spec.Template.Metadata.Labels[component]] = m
		}
	}
	return found
}

const component = "app.kubernetes.io/component"

func TestPodsRunWhatThereIs(t *testing.T) {
	settings := map[string]string{}
	for _, m := range manifests(t) {
		if m.Kind == "ConfigMap" && m.Metadata.Name == "grandstand" {
			settings = m.Data
		}
	}
	roles := workloads(t)
	if got := slices.Sorted(maps.Keys(roles)); !slices.Equal(got, []string{"aggregator", "archiver", "blocker", "gateway", "web"}) {
		t.Fatalf("the roles are %v", got)
	}
	for role, m := range roles {
		pod := m.Spec.Template.Spec
		c := pod.Containers[0]
		env := map[string]string{"GRANDSTAND_REDIS": "redis://redis:6379", "GRANDSTAND_SECRET": strings.Repeat("s", minSecret)}
		if len(c.EnvFrom) > 0 {
			maps.Copy(env, settings)
		}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		run := asRun(t, role, c.Args, env)
		if c.Args[0] != role || c.Image != "registry.example.com/grandstand:1.0.0" {
			t.Errorf("the pods of %s run %v of %s", role, c.Args, c.Image)
		}
		grace := time.Duration(pod.Grace) * time.Second
		need := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second + spareTime
		if role == "gateway" {
			need += run.Gateway.DrainOver + run.Gateway.SealOver
			if !slices.ContainsFunc(m.mounts(), func(path string) bool { return path == run.Gateway.Journal }) {
				t.Errorf("the journal %s is on no volume", run.Gateway.Journal)
			}
		}
		if grace < need {
			t.Errorf("a pod of %s is killed after %v, but needs %v to stop", role, grace, need)
		}
		checkProbes(t, role, c)
		s := c.SecurityContext
		if !pod.SecurityContext.RunAsNonRoot || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) ||
			s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
			t.Errorf("the pods of %s may do more than they need", role)
		}
	}
}

func (m *manifest) mounts() (paths []string) {
	for _, v := range m.Spec.Template.Spec.Containers[0].VolumeMounts {
		paths = append(paths, v.MountPath)
	}
	return paths
}

// checkProbes wants /readyz and /healthz of a port that players do not reach.
func checkProbes(t *testing.T, role string, c *container) {
	t.Helper()
	const port = "admin"
	if c.StartupProbe == nil && role != "web" {
		t.Errorf("%s may not be slow to start", role)
	}
	for _, want := range []struct {
		p    *podProbe
		path string
	}{{c.ReadinessProbe, "/readyz"}, {c.LivenessProbe, "/healthz"}} {
		if want.p == nil || want.p.HTTPGet.Path != want.path || want.p.HTTPGet.Port != port {
			t.Errorf("%s is not asked for %s on %s: %+v", role, want.path, port, want.p)
		}
	}
}

// What refers to pods, ports and workloads by name means some that are there.
func TestManifestsKnowEachOther(t *testing.T) {
	roles := workloads(t)
	scaled, budgets := map[string]bool{}, map[string]bool{}
	for _, m := range manifests(t) {
		switch m.Kind {
		case "PodDisruptionBudget":
			role := m.Spec.Selector.MatchLabels[component]
			if roles[role] == nil {
				t.Errorf("the budget %s is for nobody", m.Metadata.Name)
			}
			budgets[role] = true
		case "HorizontalPodAutoscaler":
			target := roles[m.Spec.ScaleTargetRef.Name]
			if target == nil || target.Kind != m.Spec.ScaleTargetRef.Kind {
				t.Errorf("%s scales %+v, which is not there", m.Metadata.Name, m.Spec.ScaleTargetRef)
			}
			if target != nil && target.Spec.Replicas != nil {
				t.Errorf("each apply would set %s back to %d pods, which %s has scaled", target.Metadata.Name, *target.Spec.Replicas, m.Metadata.Name)
			}
			scaled[m.Metadata.Name] = true
			for _, metric := range m.Spec.Metrics {
				if name := metric.Pods.Metric.Name; name != "" && !strings.Contains(readRepo(t, "deploy/kubernetes/prometheus-adapter.yaml"), "'"+name+"{") {
					t.Errorf("the adapter does not serve %s", name)
				}
			}
		case "NetworkPolicy":
			for _, in := range m.Spec.Ingress {
				for _, p := range in.Ports {
					if !portOf(m, roles, p.Port) {
						t.Errorf("the policy %s opens %v, which its pods do not have", m.Metadata.Name, p.Port)
					}
				}
			}
		}
	}
	if !scaled["gateway"] || len(budgets) != len(roles) {
		t.Errorf("scaled are %v, budgets are there for %v", scaled, budgets)
	}
}

func portOf(policy *manifest, roles map[string]*manifest, port any) bool {
	named := slices.Collect(maps.Values(policy.Spec.PodSelector.MatchLabels))
	for _, e := range policy.Spec.PodSelector.MatchExpressions {
		named = append(named, e.Values...)
	}
	for role, m := range roles {
		if !slices.Contains(named, role) && !slices.Contains(named, "grandstand") {
			continue
		}
		for _, p := range m.Spec.Template.Spec.Containers[0].Ports {
			if p.Name == port {
				return true
			}
		}
	}
	return false
}
