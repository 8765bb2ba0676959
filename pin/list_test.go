package pin_test

import (
	"fmt"
	"testing"

	"github.com/ipfs-registry/ipfs-registry/image"
	"github.com/ipfs-registry/ipfs-registry/pin"
)

// A list that is sent in several parts arrives whole and in order, may be left
// in the middle, and may have images removed from it meanwhile.
func TestListOfMany(t *testing.T) {
	h := newHost(pin.Options{})
	client := h.client(t)
	for _, many := range []int{0, 64, 150} {
		for n := len(h.list(t)); n < many; n++ {
			root, _ := h.layout(fmt.Sprint("layer ", n))
			h.add(t, pin.Request{Path: image.Path{Root: root}, Name: fmt.Sprint(n)})
		}
		for _, s := range []pin.Service{h, client} {
			all := listed(t, s)
			if len(all) != many {
				t.Errorf("%d images are listed; want %d", len(all), many)
			}
			for n, i := range all {
				if i.Name != fmt.Sprint(n) {
					t.Fatalf("%s comes after %d others", i.Name, n)
				}
			}
		}
	}
	for range client.List(t.Context()) {
		break
	}
	left := 0
	for i, err := range h.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if left++; i.Name == "10" {
			for _, gone := range h.list(t)[11:] {
				if err := h.Remove(t.Context(), gone.Path()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if left != 11 {
		t.Errorf("%d images came, of which 11 were left", left)
	}
}
