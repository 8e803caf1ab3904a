package splitrail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Where FindConnection looks first.
const (
	URLVariable   = "SPLITRAIL_URL"
	TokenVariable = "SPLITRAIL_TOKEN"
)

// Connection is the gateway's address and where the caller's token comes from.
type Connection struct {
	// URL is http://host:port or https://host[:port].
	URL string
	// Tokens gives the bearer token of each call.
	Tokens TokenSource
}

// FindConnection returns the first of: SPLITRAIL_URL with SPLITRAIL_TOKEN; .splitrail/client.json (an object with url
// and token, which `make up` writes) in the current folder or a parent; splitrail/client.json in the user's
// configuration folder. A token found in a file is only ever sent to the address in the same file.
func FindConnection() (Connection, error) {
	address, token := os.Getenv(URLVariable), strings.TrimSpace(os.Getenv(TokenVariable))
	if address != "" {
		checked, err := checkedURL(address)
		if err != nil {
			return Connection{}, err
		}
		address = checked
	}
	if address != "" && token != "" {
		return Connection{URL: address, Tokens: StaticToken(token)}, nil
	}
	candidates, err := connectionFiles()
	if err != nil {
		return Connection{}, err
	}
	for _, path := range candidates {
		found, err := readConnection(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Connection{}, err
		}
		if address != "" && found.URL != address {
			continue
		}
		if token != "" {
			found.Tokens = StaticToken(token)
		}
		return found, nil
	}
	return Connection{}, fmt.Errorf("no Splitrail found: set %s and %s, or start one with `make up`, which writes .splitrail/client.json", URLVariable, TokenVariable)
}

func connectionFiles() ([]string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var paths []string
	for {
		paths = append(paths, filepath.Join(folder, ".splitrail", "client.json"))
		parent := filepath.Dir(folder)
		if parent == folder {
			break
		}
		folder = parent
	}
	if configuration, err := os.UserConfigDir(); err == nil { // a user without a home has none
		paths = append(paths, filepath.Join(configuration, "splitrail", "client.json"))
	}
	return paths, nil
}

func readConnection(path string) (Connection, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Connection{}, err
	}
	var stored struct{ URL, Token string }
	if err := json.Unmarshal(content, &stored); err != nil {
		return Connection{}, fmt.Errorf("%s cannot be read as an object with url and token: %w", path, err)
	}
	if stored.Token == "" {
		return Connection{}, fmt.Errorf("%s holds no token", path)
	}
	address, err := checkedURL(stored.URL)
	if err != nil {
		return Connection{}, fmt.Errorf("%s: %w", path, err)
	}
	return Connection{URL: address, Tokens: StaticToken(strings.TrimSpace(stored.Token))}, nil
}

// checkedURL returns the address without a trailing slash.
func checkedURL(address string) (string, error) {
	parts, err := url.Parse(address)
	if err != nil || (parts.Scheme != "http" && parts.Scheme != "https") || parts.Hostname() == "" || strings.Trim(parts.Path, "/") != "" {
		return "", fmt.Errorf("%q is not an address like http://127.0.0.1:8080 or https://splitrail.example.org", address)
	}
	return parts.Scheme + "://" + parts.Host, nil
}

// target returns host:port, whether the channel is encrypted, and whether the gateway is on this machine.
func target(address string) (hostPort string, encrypted, loopback bool, err error) {
	checked, err := checkedURL(address)
	if err != nil {
		return "", false, false, err
	}
	parts, err := url.Parse(checked)
	if err != nil {
		return "", false, false, err
	}
	encrypted = parts.Scheme == "https"
	port := parts.Port()
	if port == "" {
		port = "80"
		if encrypted {
			port = "443"
		}
	}
	host := parts.Hostname()
	address4 := net.ParseIP(host)
	loopback = host == "localhost" || (address4 != nil && address4.IsLoopback())
	return net.JoinHostPort(host, port), encrypted, loopback, nil
}
