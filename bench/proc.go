package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux.
const clockTick = 100

// cpuOf returns the processor seconds that a process has used, to the nanosecond
// where the kernel counts them so (schedstat of its threads: those of Go and of
// Redis do not end), else to the hundredth (proc(5), stat).
func cpuOf(pid int) (float64, error) {
	if ns, err := threadTime(pid); err == nil {
		return float64(ns) / 1e9, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return parseStat(b)
}

// threadTime adds up the time that the threads of a process ran, in ns.
func threadTime(pid int) (total uint64, err error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	for _, thread := range threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, thread.Name()))
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		text, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %q", b)
		}
		total += ns
	}
	return total, nil
}

func parseStat(b []byte) (float64, error) {
	end := bytes.LastIndexByte(b, ')') // the name before may hold anything
	f := strings.Fields(string(b[end+1:]))
	if end < 0 || len(f) < 13 {
		return 0, fmt.Errorf("read processor time: %q", b)
	}
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("read processor time: %q", b)
	}
	return float64(user+system) / clockTick, nil
}

// rssOf returns the bytes of memory that a process takes (smaps_rollup: VmRSS
// of status may be some pages per thread behind).
func rssOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return parseKB(b, "Rss")
}

// kernelMemory returns the bytes that sockets take in the kernel of the whole
// machine: slabs, and buffers of TCP.
func kernelMemory() (float64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	slab, err := parseKB(b, "Slab")
	if err != nil {
		return 0, err
	}
	if b, err = os.ReadFile("/proc/net/sockstat"); err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	pages, err := parseSockstat(b)
	return slab + pages*float64(os.Getpagesize()), err
}

// parseKB returns the bytes of a line "Name:   12 kB".
func parseKB(b []byte, name string) (float64, error) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if n, rest, _ := strings.Cut(s.Text(), ":"); n == name {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				return 0, fmt.Errorf("read memory: %q", s.Text())
			}
			return kb * 1024, nil
		}
	}
	return 0, fmt.Errorf("read memory: there is no %s", name)
}

// parseSockstat returns the pages that TCP's buffers take.
func parseSockstat(b []byte) (float64, error) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 2 && f[0] == "TCP:" && f[len(f)-2] == "mem" {
			return strconv.ParseFloat(f[len(f)-1], 64)
		}
	}
	return 0, fmt.Errorf("read memory of TCP: %q", b)
}

// scrape is what a process exports as metrics, by name and labels as they are
// written in the text format of Prometheus.
type scrape map[string]float64

func parseMetrics(b []byte) scrape {
	m := scrape{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line := s.Text()
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			m[line[:i]] = v
		}
	}
	return m
}

// sum adds up all metrics of the name whose labels contain the text.
func (m scrape) sum(name, labels string) (total float64) {
	for k, v := range m {
		if n, rest, _ := strings.Cut(k, "{"); n == name && strings.Contains(rest, labels) {
			total += v
		}
	}
	return total
}

// info is what Redis says of itself (INFO all).
type info map[string]string

func parseInfo(text string) info {
	m := info{}
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			m[name] = value
		}
	}
	return m
}

func (m info) number(name string) float64 {
	v, _ := strconv.ParseFloat(m[name], 64)
	return v
}

// commands returns how many commands were carried out, of clients and of
// scripts, but for INFO itself.
func (m info) commands() (total float64) {
	for name, value := range m {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok || command == "info" {
			continue
		}
		for field := range strings.SplitSeq(value, ",") {
			if n, ok := strings.CutPrefix(field, "calls="); ok {
				calls, _ := strconv.ParseFloat(n, 64)
				total += calls
			}
		}
	}
	return total
}
