// A suite over three nodes of the built-in demo program: cthulhu run -n 3 -- go test ./...
package cluster

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// node is a node's directory in the mount.
type node string

func nodes(t *testing.T) (string, []node) {
	t.Helper()
	mount := os.Getenv("CTHULHU")
	if mount == "" {
		t.Fatal("run it with a cluster: cthulhu run -n 3 -- go test ./...")
	}
	// Fresh nodes, whatever the test before has left. The mount itself takes commands as a node does.
	node(mount).do(t, "reset --start")
	var all []node
	for _, name := range []string{"i001", "i002", "i003"} {
		all = append(all, node(filepath.Join(mount, name)))
	}
	return mount, all
}

// read returns what a file of the node says now.
func (n node) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(string(n), file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// command returns when the command has taken effect, or why it cannot.
func (n node) command(line string) error {
	if err := os.WriteFile(filepath.Join(string(n), "control"), []byte(line+"\n"), 0); err != nil {
		why, _ := os.ReadFile(filepath.Join(string(n), "error"))
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(why)))
	}
	return nil
}

func (n node) do(t *testing.T, line string) {
	t.Helper()
	if err := n.command(line); err != nil {
		t.Fatal(err)
	}
}

// sees tells whether the node believes that its peer is in a state: up, down or unknown.
func (n node) sees(t *testing.T, peer node, state string) bool {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get("http://" + n.read(t, "ip") + ":8080/")
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	var view struct {
		Peers map[string]struct{ State string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&view); err != nil {
		return false
	}
	return view.Peers[peer.read(t, "ip")].State == state
}

// within polls until the condition holds: a program takes its time, a write to control does not.
func within(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func TestAStoppedNodeIsMissedAndTheOthersLive(t *testing.T) {
	_, all := nodes(t)
	within(t, 60*time.Second, "i001 sees i002", func() bool { return all[0].sees(t, all[1], "up") })
	all[1].do(t, "stop")
	for index, want := range []string{"running", "exited", "running"} {
		if got := all[index].read(t, "state"); got != want {
			t.Errorf("%s is %s, not %s", all[index], got, want)
		}
	}
	within(t, 60*time.Second, "i001 misses i002", func() bool { return all[0].sees(t, all[1], "down") })
	within(t, 60*time.Second, "i001 sees i003", func() bool { return all[0].sees(t, all[2], "up") })
}

func TestWhatATestNotesHasItsPlaceInTheHistory(t *testing.T) {
	mount, all := nodes(t)
	note := func(phase string) {
		history, err := os.OpenFile(filepath.Join(mount, "history"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer history.Close()
		if _, err := fmt.Fprintf(history, `{"op":"go","phase":"%s"}`+"\n", phase); err != nil {
			t.Fatal(err)
		}
	}
	note("invoke")
	all[2].do(t, "kill")
	note("ok")

	history, err := os.Open(filepath.Join(mount, "history"))
	if err != nil {
		t.Fatal(err)
	}
	defer history.Close()
	var order []string
	for lines := bufio.NewScanner(history); lines.Scan(); {
		var line struct {
			State struct{ Node, To string }
			Test  struct{ Op, Phase string }
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Test.Op == "go" {
			order = append(order, line.Test.Phase)
		} else if len(order) == 1 && line.State.Node == "i003" && line.State.To == "exited" && order[0] == "invoke" {
			order = append(order, "death")
		}
	}
	if got := strings.Join(order, " "); got != "invoke death ok" {
		t.Errorf("the order was: %s", got)
	}
}

func TestWhatCannotBeDoneSaysWhy(t *testing.T) {
	_, all := nodes(t)
	all[1].do(t, "stop")
	if err := all[1].command("kill"); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("it said: %v", err)
	}
}
