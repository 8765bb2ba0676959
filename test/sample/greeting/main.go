// Command greeting is what the sample image runs.
package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("Hello from a container whose image came from IPFS (%s/%s).\n", runtime.GOOS, runtime.GOARCH)
}
