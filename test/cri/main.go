// Command cri runs a pod of one container by CRI, as a kubelet does, and prints
// what the container printed.
//
// crictl, which people use for that, is in a module that the module proxy does
// not have.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	limit   = 2 * time.Minute // for all but the cleaning up
	cleanup = 20 * time.Second
	poll    = 20 * time.Millisecond
)

func main() {
	address := flag.String("address", "", "Unix socket of the engine")
	image := flag.String("image", "", "the container's image")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := run(ctx, *address, *image); err != nil {
		log.Fatal(err)
	}
}

// engine is what a kubelet talks to.
type engine struct {
	cri.RuntimeServiceClient
	cri.ImageServiceClient
}

func run(ctx context.Context, address, image string) (err error) {
	conn, err := grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	logs, err := os.MkdirTemp("", "pod-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(logs)
	e := engine{cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)}
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: filepath.Base(logs)},
		LogDirectory: logs,
		// The host's network, for there is no CNI here.
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: ofHost()}},
	}
	box, err := e.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return fmt.Errorf("run the pod: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup) // also when the time is over
		defer cancel()
		_, stopped := e.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: box.GetPodSandboxId()})
		_, removed := e.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: box.GetPodSandboxId()})
		err = errors.Join(err, stopped, removed)
	}()
	if err := e.container(ctx, pod, box.GetPodSandboxId(), image); err != nil {
		return err
	}
	out, err := os.ReadFile(filepath.Join(logs, "log"))
	fmt.Print(string(out))
	return err
}

func ofHost() *cri.NamespaceOption { return &cri.NamespaceOption{Network: cri.NamespaceMode_NODE} }

// container pulls the image and runs a container of it to its end.
func (e *engine) container(ctx context.Context, pod *cri.PodSandboxConfig, box, image string) error {
	spec := &cri.ImageSpec{Image: image}
	pulled, err := e.PullImage(ctx, &cri.PullImageRequest{Image: spec, SandboxConfig: pod})
	if err != nil {
		return fmt.Errorf("pull the image: %w", err)
	}
	made, err := e.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: box, SandboxConfig: pod, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "container"},
		Image:    &cri.ImageSpec{Image: pulled.GetImageRef(), UserSpecifiedImage: image},
		LogPath:  "log",
		Linux:    &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: ofHost()}},
	}})
	if err != nil {
		return fmt.Errorf("create the container: %w", err)
	}
	id := made.GetContainerId()
	if _, err := e.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id}); err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	for {
		is, err := e.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		switch {
		case err != nil:
			return err
		case is.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED && is.GetStatus().GetExitCode() == 0:
			return nil
		case is.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED:
			return fmt.Errorf("the container ended with %d", is.GetStatus().GetExitCode())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}
