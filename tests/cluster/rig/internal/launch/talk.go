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
	if _, err := say(*folder, "down"); err != nil {
		// It died before: its namespaces and all in them went with it, and its files stayed.
		return os.RemoveAll(*folder)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(*folder); os.IsNotExist(err) {
			return nil
		}
	}
	return fmt.Errorf("it does not end; its first process is the one in the file %s", pidName)
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
