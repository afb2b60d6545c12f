package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const repo = "../.."

// spareTime is what a stopping process may need besides the time that its flags
// give to viewers and journal.
const spareTime = 10 * time.Second

// composeFile is what these tests read of docker-compose.yml.
type composeFile struct {
	Services map[string]*service
	Networks map[string]*struct{ Internal bool }
	Volumes  map[string]any
}

type service struct {
	Image           string
	Build           *struct{ Context string }
	Command         []string
	Environment     map[string]string
	Volumes         []string
	DependsOn       any `yaml:"depends_on"`
	Networks        []string
	Ports           []string
	Profiles        []string
	User            string
	ReadOnly        bool          `yaml:"read_only"`
	CapDrop         []string      `yaml:"cap_drop"`
	SecurityOpt     []string      `yaml:"security_opt"`
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+)(?::([-?])([^}]*))?\}`)

// readCompose reads docker-compose.yml with the variables as .env and the
// defaults have them.
func readCompose(t *testing.T) (*composeFile, string) {
	t.Helper()
	text := readRepo(t, "docker-compose.yml")
	secrets := dotEnv(t)
	filled := variable.ReplaceAllStringFunc(text, func(v string) string {
		m := variable.FindStringSubmatch(v)
		if value := secrets[m[1]]; value != "" {
			return value
		}
		if m[2] != "-" {
			t.Errorf("docker-compose.yml needs %s, which secrets.sh does not make", m[1])
		}
		return m[3]
	})
	var c composeFile
	// A key beside a merge (<<) is a duplicate to the library.
	if err := yaml.UnmarshalWithOptions([]byte(filled), &c, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) < 10 {
		t.Fatalf("docker-compose.yml has %d services", len(c.Services))
	}
	return &c, text
}

// dotEnv returns what `make .env` would write.
func dotEnv(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("sh", filepath.Join(repo, "deploy/compose/secrets.sh")).Output()
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			env[name] = value
		}
	}
	return env
}

func readRepo(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repo, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ours returns the services that run this binary, by name.
func (c *composeFile) ours() map[string]*service {
	all := maps.Clone(c.Services)
	maps.DeleteFunc(all, func(_ string, s *service) bool { return !strings.HasPrefix(s.Image, "grandstand:") })
	return all
}

// asRun returns the settings of a process with the arguments and variables, and
// fails the test if it would not start with them.
func asRun(t *testing.T, what string, args []string, env map[string]string) *cli {
	t.Helper()
	known := map[string]bool{
		"GRANDSTAND_CONFIG": true, "GRANDSTAND_S3_ACCESS_KEY": true, "GRANDSTAND_S3_SECRET_KEY": true, // not of flags
	}
	p, err := newParser(&cli{}, &file{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range p.Model.Leaves(false) {
		for _, flag := range role.Flags {
			for _, name := range flag.Envs {
				known[name] = true
			}
		}
	}
	var c *cli
	t.Run(what, func(t *testing.T) {
		for name, value := range env {
			if strings.HasPrefix(name, "GRANDSTAND_") && !known[name] {
				t.Errorf("there is no setting %s", name)
			}
			if name != "GRANDSTAND_CONFIG" { // a path in the container; TestSettingsFiles reads it
				t.Setenv(name, value)
			}
		}
		if c, _, err = parse(t, "", args...); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	})
	return c
}

func TestComposeRunsWhatThereIs(t *testing.T) {
	c, text := readCompose(t)
	for name, s := range c.ours() {
		settings := asRun(t, name, s.Command, s.Environment)
		if s.Command[0] == "gateway" {
			need := settings.Gateway.DrainOver + settings.Gateway.SealOver + spareTime
			if s.StopGracePeriod < need {
				t.Errorf("%s is killed after %v, but needs %v to drain and to seal", name, s.StopGracePeriod, need)
			}
			if !slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+settings.Gateway.Journal) }) {
				t.Errorf("%s keeps its journal in the container", name)
			}
		}
	}
	for name, s := range c.Services {
		if !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || !s.ReadOnly && name != "grafana" {
			t.Errorf("%s may do more than it needs: %+v", name, s)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s to everybody", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join(repo, from)); err != nil {
				t.Errorf("%s mounts %s: %v", name, from, err)
			}
		}
	}
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		if secret := regexp.MustCompile(`SECRET|PASSWORD|TOKEN`).MatchString(m[1]); secret && m[3] != "" && m[2] != "?" {
			t.Errorf("%s has a secret that everybody knows: %s", m[1], m[3])
		}
	}
}

// Who has the password of the user replica may copy all that Redis holds.
func TestOnlyNodesOfTheClusterMayCopyRedis(t *testing.T) {
	c, text := readCompose(t)
	secret := dotEnv(t)["REDIS_REPLICA_PASSWORD"]
	if secret == "" || strings.Count(text, "${REDIS_REPLICA_PASSWORD") != 1 {
		t.Errorf("the password is %q, and stands %d times in docker-compose.yml", secret, strings.Count(text, "${REDIS_REPLICA_PASSWORD"))
	}
	for name, s := range c.Services {
		_, has := s.Environment["REDIS_REPLICA_PASSWORD"]
		if node := slices.Equal(s.Command, []string{"cluster.conf"}); has != node {
			t.Errorf("%s has the password: %v; it is a node of the cluster: %v", name, has, node)
		}
	}
}

// joinCluster has compose start the nodes of the profile cluster, join them, and
// return when they are. redisNodes is where they are found then.
const (
	joinCluster = "--profile cluster run --rm -T cluster"
	redisNodes  = "redis-1:6379,redis-2:6379,redis-3:6379"
)

// A gateway that asks nodes which are not joined yet does not start, so the command
// of docs/production.md joins them first, as TestComposeCluster does.
func TestClusterIsJoinedBeforeItIsUsed(t *testing.T) {
	const command = "make up CLUSTER=1"
	if !strings.Contains(readRepo(t, "docs/production.md"), "\n    "+command+"\n") {
		t.Errorf("docs/production.md does not say %s", command)
	}
	printed := func(args ...string) string {
		cmd := exec.Command("make", append([]string{"-n", "-C", repo, "COMPOSE=docker compose", "up"}, args...)...)
		cmd.Env = append(os.Environ(), "MAKEFLAGS=") // of the make that runs this test
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("make -n up: %v", err)
		}
		return string(out)
	}
	join, use := "docker compose "+joinCluster+"\n", "REDIS_NODES="+redisNodes+" docker compose "
	if _, then, joined := strings.Cut(printed("CLUSTER=1"), join); !joined || !strings.Contains(then, use) {
		t.Errorf("%s runs\n%s\nwant %q, then %q", command, printed("CLUSTER=1"), join, use)
	}
	if single := printed(); strings.Contains(single, "cluster") || strings.Contains(single, "REDIS_NODES") {
		t.Errorf("make up runs\n%s", single)
	}
}

func TestSecretsAreNew(t *testing.T) {
	first, second := dotEnv(t), dotEnv(t)
	for name, value := range first {
		if len(value) < 32 || value == second[name] {
			t.Errorf("%s is %q, then %q", name, value, second[name])
		}
	}
	if !strings.Contains(readRepo(t, ".gitignore"), "/.env\n") || !strings.Contains(readRepo(t, ".dockerignore"), ".env\n") {
		t.Error(".env would be committed, or be a part of an image")
	}
}

// The settings file of the stack, and that of the cluster, are read by every role
// that is given them.
func TestSettingsFiles(t *testing.T) {
	texts := map[string]string{"compose": readRepo(t, "deploy/compose/grandstand.yml")}
	for _, o := range manifests(t) {
		if o.Kind == "ConfigMap" && o.Data["grandstand.yml"] != "" {
			texts["kubernetes"] = o.Data["grandstand.yml"]
		}
	}
	for name, text := range texts {
		if _, f, err := parse(t, text, "gateway"); err != nil || len(f.events) == 0 {
			t.Errorf("%s: %v, %v", name, f.events, err)
		}
	}
}

// The edge sends requests to services that are there, where they listen.
func TestEdgeKnowsTheServices(t *testing.T) {
	c, _ := readCompose(t)
	servers := regexp.MustCompile(`(?m)^\s+server (\S+) ([^:]+):(\S+)$`).FindAllStringSubmatch(readRepo(t, "deploy/compose/haproxy.cfg"), -1)
	served := map[string]bool{}
	for _, m := range servers {
		s := c.Services[m[2]]
		if s == nil {
			t.Errorf("there is no service %s", m[2])
			continue
		}
		served[m[2]] = true
		listen := s.Environment["GRANDSTAND_LISTEN"]
		if i := slices.IndexFunc(s.Command, func(a string) bool { return strings.HasPrefix(a, "--listen=") }); i >= 0 {
			listen = strings.TrimPrefix(s.Command[i], "--listen=")
		}
		if listen != ":"+m[3] {
			t.Errorf("%s listens on %s, the edge asks %s", m[2], listen, m[3])
		}
	}
	for name, s := range c.ours() {
		if slices.Contains([]string{"gateway", "blocker", "web"}, s.Command[0]) && !served[name] {
			t.Errorf("the edge does not know %s", name)
		}
	}
}

func TestImagesAreWhatIsTested(t *testing.T) {
	pinned := regexp.MustCompile(`MINIO +:= (\S+)`).FindStringSubmatch(readRepo(t, "Makefile"))
	if pinned == nil || !strings.Contains(readRepo(t, "deploy/minio/Dockerfile"), "ARG MINIO="+pinned[1]+"\n") {
		t.Errorf("deploy/minio/Dockerfile does not build %v, which the tests use", pinned)
	}
	image := readRepo(t, "Dockerfile")
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readRepo(t, "go.mod"))
	if version == nil || !strings.Contains(image, "golang:"+version[1]+"-") {
		t.Errorf("the image is not built with Go %v of go.mod", version)
	}
	for _, want := range []string{"\nUSER 65532:65532\n", `CMD ["/grandstand", "health"]`, `ENTRYPOINT ["/grandstand"]`} {
		if !strings.Contains(image, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	for _, path := range []string{"Dockerfile", "deploy/minio/Dockerfile", "docker-compose.yml"} {
		for _, m := range regexp.MustCompile(`GOPROXY[=:](.*)`).FindAllStringSubmatch(readRepo(t, path), -1) {
			if !strings.Contains(m[1], "https://proxy.golang.org,direct") {
				t.Errorf("%s: the default of GOPROXY is %s", path, m[1])
			}
		}
	}
}
