package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
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
		Ingress []struct {
			From []struct {
				NamespaceSelector struct {
					MatchLabels map[string]string `yaml:"matchLabels"`
				} `yaml:"namespaceSelector"`
			}
			Ports []struct{ Port any }
		}
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

// scrapeJob is what the example of Prometheus on Kubernetes has of a job.
type scrapeJob struct {
	Name       string `yaml:"job_name"`
	Discovered []struct {
		Role       string
		Namespaces struct{ Names []string }
		Selectors  []struct{ Role, Label string }
	} `yaml:"kubernetes_sd_configs"`
	Relabel []struct {
		Source        []string `yaml:"source_labels"`
		Regex, Action string
		Target        string `yaml:"target_label"`
	} `yaml:"relabel_configs"`
}

// discovers says whether the job asks Kubernetes for pods like these.
func (j *scrapeJob) discovers(m *manifest) bool {
	for _, d := range j.Discovered {
		for _, s := range d.Selectors {
			name, value, _ := strings.Cut(s.Label, "=")
			if d.Role == "pod" && s.Role == "pod" && slices.Contains(d.Namespaces.Names, m.Metadata.Namespace) && m.Spec.Template.Metadata.Labels[name] == value {
				return true
			}
		}
	}
	return false
}

// target relabels what was discovered, as Prometheus does. It returns nil for what
// is not scraped.
func (j *scrapeJob) target(found map[string]string) map[string]string {
	labels := map[string]string{"job": j.Name}
	for _, r := range j.Relabel {
		var values []string
		for _, name := range r.Source {
			values = append(values, found[name])
		}
		value := strings.Join(values, ";")
		matches := r.Regex == "" || regexp.MustCompile("^(?:"+r.Regex+")$").MatchString(value)
		switch {
		case r.Action == "" && r.Regex == "":
			labels[r.Target] = value
		case r.Action == "keep" && !matches, r.Action == "drop" && matches:
			return nil
		}
	}
	return labels
}

// Prometheus finds each pod once, where it is let in, and gives it the labels that
// alerts and the adapter ask for.
func TestPrometheusFindsThePods(t *testing.T) {
	text := readRepo(t, "deploy/prometheus/kubernetes.yml")
	var config struct {
		Jobs []scrapeJob `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(text), &config); err != nil || len(config.Jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(config.Jobs), err)
	}
	job := &config.Jobs[0]
	if alerts := readRepo(t, "deploy/prometheus/rules/alerts.yml"); !strings.Contains(alerts, `up{job="`+job.Name+`"}`) {
		t.Errorf("no alert asks for the job %s", job.Name)
	}
	for role, m := range workloads(t) {
		if !job.discovers(m) {
			t.Errorf("Prometheus does not look for the pods of %s", role)
		}
		var targets []map[string]string
		for _, port := range m.Spec.Template.Spec.Containers[0].Ports {
			pod := map[string]string{
				"__meta_kubernetes_namespace": m.Metadata.Namespace, "__meta_kubernetes_pod_name": role + "-0",
				"__meta_kubernetes_pod_container_port_name": port.Name, "__meta_kubernetes_pod_phase": "Running",
			}
			for name, value := range m.Spec.Template.Metadata.Labels {
				pod["__meta_kubernetes_pod_label_"+regexp.MustCompile(`\W`).ReplaceAllString(name, "_")] = value
			}
			labels := job.target(pod)
			if labels == nil {
				continue
			}
			targets = append(targets, labels)
			if !admits(t, m, port.Name, text) {
				t.Errorf("no network policy lets Prometheus in at %s of %s", port.Name, role)
			}
			pod["__meta_kubernetes_pod_phase"] = "Failed"
			if job.target(pod) != nil {
				t.Errorf("a pod of %s that was evicted would be down for ever", role)
			}
		}
		want := map[string]string{"job": "grandstand", "role": role, "namespace": "grandstand", "pod": role + "-0"}
		if len(targets) != 1 || !maps.Equal(targets[0], want) {
			t.Errorf("the targets of a pod of %s are %v, want %v", role, targets, want)
		}
	}
}

// admits says whether a policy lets a namespace that the text names in at the port.
func admits(t *testing.T, m *manifest, port, text string) bool {
	t.Helper()
	for _, policy := range manifests(t) {
		if policy.Kind != "NetworkPolicy" || !selects(policy, m) {
			continue
		}
		for _, in := range policy.Spec.Ingress {
			for _, p := range in.Ports {
				for _, from := range in.From {
					namespace := from.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
					if p.Port == port && namespace != "" && strings.Contains(text, "namespace `"+namespace+"`") {
						return true
					}
				}
			}
		}
	}
	return false
}

// selects says whether the policy is for these pods, by labels alone.
func selects(policy, m *manifest) bool {
	for name, value := range policy.Spec.PodSelector.MatchLabels {
		if m.Spec.Template.Metadata.Labels[name] != value {
			return false
		}
	}
	return len(policy.Spec.PodSelector.MatchExpressions) == 0
}
