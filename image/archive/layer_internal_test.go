package archive

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// What is read of a layer has a bound, and to pass it is a fault of the layer.
func TestPackedIsBounded(t *testing.T) {
	in := &watchedReader{r: strings.NewReader("12345"), left: 3}
	if got, err := io.ReadAll(in); string(got) != "123" || !errors.Is(err, errPacked) || in.err != nil {
		t.Errorf("read %q, %v; the reader's own error is %v", got, err, in.err)
	}
}
