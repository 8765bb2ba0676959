package node

import (
	"io"
	"testing"
	"time"
)

// A source whose streams all break off at once, as when its link is cut, has
// failed once, and is asked again soon.
func TestStreamsThatBreakTogetherAreOneFailure(t *testing.T) {
	s := &supplier{}
	for range 8 {
		s.opened()
	}
	for range 8 {
		s.closed(0, time.Second, io.ErrUnexpectedEOF)
	}
	if s.usable(time.Now()) || !s.usable(time.Now().Add(2*firstBackOff)) {
		t.Errorf("it is left alone until %s", time.Until(s.until))
	}
}
