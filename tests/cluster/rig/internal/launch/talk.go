package launch

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Stop ends a cluster and removes its folder.
func Stop(arguments []string) error {
	flags := flag.NewFlagSet("stop", flag.ExitOnError)
	folder := flags.String("folder", "", "where its state is kept")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(*folder, pidName)); err != nil {
		return fmt.Errorf("there is no cluster in %s", *folder)
	}
	if _, err := say(*folder, "down"); err == nil {
		// The namespaces end with their first process, and with them everything in them.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := say(*folder, "ready"); err != nil {
				break
			}
			if time.Now().After(deadline) {
				return errors.New("it does not end; see the file pid")
			}
		}
	}
	return removeAll(*folder)
}

// removeAll tries again for a while: what was killed may still be letting go of its files.
func removeAll(folder string) error {
	var err error
	for range 100 {
		if err = os.RemoveAll(folder); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// Ask says something to a cluster and prints its answer.
func Ask(arguments []string) error {
	flags := flag.NewFlagSet("ask", flag.ExitOnError)
	folder := flags.String("folder", "", "where its state is kept")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	answer, err := say(*folder, strings.Join(flags.Args(), " "))
	if err == nil {
		fmt.Println(answer)
	}
	return err
}

// say is one request on the control socket.
func say(folder, what string) (string, error) {
	connection, err := net.Dial("unix", filepath.Join(folder, socketName))
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if _, err := fmt.Fprintln(connection, what); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return "", err
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if word != "ok" {
		return "", errors.New(rest)
	}
	return rest, nil
}
