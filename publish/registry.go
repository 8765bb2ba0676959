package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	// dialLimit bounds the connecting, and the TLS handshake, each.
	dialLimit = 15 * time.Second
	// answerLimit bounds the time from a request to the header of its answer.
	// A registry hashes a layer that it was sent before it answers.
	answerLimit = 2 * time.Minute
)

// openRepository returns the repository of a reference. Registries of this
// machine are spoken to in plain HTTP, as containerd does.
func openRepository(ctx context.Context, named reference.Named, insecure bool) (*remote.Repository, error) {
	repo, err := remote.NewRepository(reference.TrimNamed(named).String())
	if err != nil {
		return nil, err
	}
	// A credential that can't be read matters only where one is asked for.
	client := &auth.Client{Client: &http.Client{Transport: newTransport(insecure)}, Cache: auth.NewCache()}
	client.SetUserAgent("ipfs-registry")
	if store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{}); err == nil {
		client.Credential = credentials.Credential(store)
	}
	repo.Client = client
	repo.ReferrerListMaxPages = 16
	repo.SkipReferrersGC = true
	if insecure {
		repo.PlainHTTP = !speaksTLS(ctx, repo)
		return repo, nil
	}
	repo.PlainHTTP, err = docker.MatchLocalhost(reference.Domain(named))
	return repo, err
}

// speaksTLS asks the registry of repo.
func speaksTLS(ctx context.Context, repo *remote.Repository) bool {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+repo.Reference.Host()+"/v2/", nil)
	if err != nil {
		return false
	}
	answer, err := (&http.Client{Transport: newTransport(true)}).Do(req)
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil
}

func newTransport(insecure bool) http.RoundTripper {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialLimit}).DialContext,
		TLSHandshakeTimeout:   dialLimit,
		ResponseHeaderTimeout: answerLimit,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // it was asked for
	}
	return retry.NewTransport(t)
}

// registryError gives a class to an error of a registry's client.
func registryError(op string, err error) error {
	var answer *errcode.ErrorResponse
	var network net.Error
	switch {
	case image.ClassOf(err) != 0 || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, errdef.ErrNotFound):
		return notFound(op, err, "check the name and the tag")
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fail(image.Denied, op, err, "log in to the registry with \"docker login\"")
	case errors.As(err, &answer):
		return answerError(op, answer)
	case errors.As(err, &network):
		return fail(image.Unavailable, op, err, "check the address, and that the registry runs; --insecure allows plain HTTP and unverified TLS")
	default:
		return fail(image.Corrupt, op, fmt.Errorf("the registry's answer contradicts itself: %w", err), "get the image anew from where it was made")
	}
}

func answerError(op string, answer *errcode.ErrorResponse) error {
	switch answer.StatusCode {
	case http.StatusNotFound:
		return notFound(op, answer, "check the name and the tag")
	case http.StatusUnauthorized, http.StatusForbidden:
		return fail(image.Denied, op, answer, "log in to the registry with \"docker login\"")
	default:
		return fail(image.Unavailable, op, answer, "try again later")
	}
}
