package node

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Each run of a container has a file; each line in it begins with its time, as with the CRI.

// openLog begins the file of a new run and gives the pipe to write to.
func (r *runner) openLog() (*os.File, error) {
	folder := r.pod.folder("logs", r.spec.Name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	r.pod.mu.Lock()
	path := r.logOf(r.runs)
	r.runs++
	r.pod.mu.Unlock()
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	go stamp(file, reader)
	return writer, nil
}

func (r *runner) logOf(run int) string {
	return r.pod.folder("logs", r.spec.Name, strconv.Itoa(run)+".log")
}

func stamp(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			_, _ = io.WriteString(to, time.Now().UTC().Format(time.RFC3339Nano)+" "+strings.TrimSuffix(line, "\n")+"\n")
		}
		if err != nil {
			return
		}
	}
}

// logs answers GET /containerLogs/{namespace}/{pod}/{container}.
func (n *Node) logs(w http.ResponseWriter, request *http.Request) {
	r, err := n.asked(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	query := request.URL.Query()
	r.pod.mu.Lock()
	run := r.runs - 1
	r.pod.mu.Unlock()
	if query.Get("previous") == "true" {
		run--
	}
	file, err := os.Open(r.logOf(run))
	if err != nil {
		http.Error(w, "there is no such log yet", http.StatusBadRequest)
		return
	}
	defer file.Close()
	wanted := wish{timestamps: query.Get("timestamps") == "true", limit: -1}
	wanted.since, _ = time.Parse(time.RFC3339, query.Get("sinceTime"))
	if seconds, err := strconv.Atoi(query.Get("sinceSeconds")); err == nil {
		wanted.since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if limit, err := strconv.Atoi(query.Get("limitBytes")); err == nil {
		wanted.limit = limit
	}
	lines := bufio.NewReader(file)
	if tail, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		if lines, err = lastLines(file, tail); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	wanted.copy(w, lines, query.Get("follow") == "true", func() bool {
		select {
		case <-request.Context().Done():
			return false
		case <-r.pod.ended:
			return false
		case <-time.After(50 * time.Millisecond):
			return true
		}
	})
}

// wish is which lines a reader of a log wants, and how.
type wish struct {
	since      time.Time
	timestamps bool
	limit      int // bytes that are still wanted; -1: all
}

func (w *wish) copy(to http.ResponseWriter, lines *bufio.Reader, follow bool, again func() bool) {
	flusher, _ := to.(http.Flusher)
	partial := ""
	for {
		line, err := lines.ReadString('\n')
		partial += line
		if err == nil {
			if !w.line(to, partial) {
				return
			}
			partial = ""
			continue
		}
		if flusher != nil {
			flusher.Flush()
		}
		if !follow || !again() {
			return
		}
	}
}

func (w *wish) line(to io.Writer, line string) bool {
	at, text, _ := strings.Cut(line, " ")
	if when, _ := time.Parse(time.RFC3339Nano, at); when.Before(w.since) {
		return true
	}
	if w.timestamps {
		text = line
	}
	if w.limit >= 0 {
		text = text[:min(len(text), w.limit)]
		w.limit -= len(text)
	}
	_, err := io.WriteString(to, text)
	return err == nil && w.limit != 0
}

// lastLines places a reader before the last lines of a file.
func lastLines(file *os.File, count int) (*bufio.Reader, error) {
	bytes, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	at := len(bytes)
	for ; count > 0 && at > 0; count-- {
		at = strings.LastIndexByte(string(bytes[:at-1]), '\n') + 1
	}
	if _, err := file.Seek(int64(at), io.SeekStart); err != nil {
		return nil, err
	}
	return bufio.NewReader(file), nil
}
