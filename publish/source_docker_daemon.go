package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/distribution/reference"

	"github.com/ipfs-registry/ipfs-registry/image"
)

const (
	defaultDockerHost = "unix:///var/run/docker.sock"
	// saveLimit bounds the time for which Docker sends nothing: older engines
	// write the whole image to a directory of their own first.
	saveLimit = 15 * time.Minute
)

// openDockerDaemon has the engine save the image into a file that nobody else
// sees, and reads that: the archive has what belongs to the manifest at its end.
func openDockerDaemon(ctx context.Context, where location, o SourceOptions) (Source, error) {
	op := "save " + where.text
	body, err := openPatiently(ctx, op, saveLimit, func(ctx context.Context) (io.ReadCloser, error) { return saveImage(ctx, where, o) })
	if err != nil {
		if image.ClassOf(err) == 0 && ctx.Err() == nil {
			err = fail(image.Unavailable, op, err, "check that Docker runs, and DOCKER_HOST")
		}
		return nil, err
	}
	defer body.Close()
	f, err := spool(&cancellable{ctx, body}, o.TempDir)
	if err != nil {
		return nil, classed(op, err)
	}
	a, err := readArchive(f)
	if err != nil {
		return nil, archiveError(where, err)
	}
	where.ref = "" // Docker was asked for this one image
	return openDocker(ctx, where, a)
}

// spool writes r to a file without a name, which is gone when it is closed or
// when the process dies.
func spool(r io.Reader, dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "ipfs-registry-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// saveImage asks the engine for the archive. Docker Engine API, ImageGet.
func saveImage(ctx context.Context, where location, o SourceOptions) (io.ReadCloser, error) {
	client, base, err := dockerClient(o.DockerHost)
	if err != nil {
		return nil, malformed("reach Docker at "+quote(o.DockerHost), err, "use unix:///PATH or tcp://HOST:PORT")
	}
	name, err := dockerName(where.ref)
	if err != nil {
		return nil, malformed("save "+where.text, err, "")
	}
	base.Path += "/images/" + name + "/get"
	if len(o.Platforms) == 1 { // engines before API 1.48 pay it no attention
		platform, err := json.Marshal(o.Platforms[0])
		if err != nil {
			return nil, err
		}
		base.RawQuery = url.Values{"platform": {string(platform)}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	return nil, dockerError(where, answer)
}

// dockerName makes "alpine" mean alpine:latest: without a tag, Docker saves
// every tag there is. An ID stays one.
func dockerName(ref string) (string, error) {
	any, err := reference.ParseAnyReference(ref)
	if err != nil {
		return "", err
	}
	if named, ok := any.(reference.Named); ok {
		return reference.FamiliarString(reference.TagNameOnly(named)), nil
	}
	return any.String(), nil
}

// dockerError reads the reason out of a refusal.
func dockerError(where location, answer *http.Response) error {
	var said struct{ Message string }
	_ = json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&said) // without one the status has to do
	why := fmt.Errorf("Docker answers %s %s", answer.Status, said.Message)
	if answer.StatusCode == http.StatusNotFound {
		return notFound("save "+where.text, why, "check the name with \"docker images\"")
	}
	return fail(image.Unavailable, "save "+where.text, why, "see Docker's log")
}

// dockerClient returns a client of the engine at host and the URL to begin with.
func dockerClient(host string) (*http.Client, *url.URL, error) {
	if host == "" {
		host = defaultDockerHost
	}
	u, err := url.Parse(host)
	if err != nil {
		return nil, nil, err
	}
	t := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	dialer := &net.Dialer{Timeout: dialLimit}
	switch {
	case u.Scheme == "unix" && u.Path != "":
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", u.Path)
		}
		return &http.Client{Transport: t}, &url.URL{Scheme: "http", Host: "docker"}, nil
	case (u.Scheme == "tcp" || u.Scheme == "http") && u.Host != "":
		t.DialContext = dialer.DialContext
		return &http.Client{Transport: t}, &url.URL{Scheme: "http", Host: u.Host}, nil
	default:
		return nil, nil, fmt.Errorf("%s is no address that can be used", quote(host))
	}
}
