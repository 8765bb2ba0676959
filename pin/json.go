package pin

import (
	"encoding/json"
	"fmt"

	"github.com/ipfs/go-cid"
)

// fields are those of an Image without its methods.
type fields Image

// MarshalJSON writes the root as text, as people write it.
func (i *Image) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Root string `json:"root"`
		*fields
	}{i.Root.String(), (*fields)(i)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (i *Image) UnmarshalJSON(data []byte) error {
	in := struct {
		Root string `json:"root"`
		*fields
	}{"", (*fields)(i)}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	c, err := cid.Decode(in.Root)
	if err != nil {
		return fmt.Errorf("read the root of an image: %w", err)
	}
	i.Root = c
	return nil
}
