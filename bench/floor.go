package bench

// FloorConfig says what the floor does. All fields are required.
type FloorConfig struct {
	Addr    string // host:port of IPv4 to listen on
	TickMS  int    // time between two frames
	Payload int    // bytes of a frame, up to maxFloorPayload
}

const maxFloorPayload = 4096

// appendServerFrame appends a text frame.
func appendServerFrame(b, payload []byte) []byte {
	b = append(b, 0x80|opText)
	if len(payload) < 126 {
		b = append(b, byte(len(payload)))
	} else {
		b = append(b, 126, byte(len(payload)>>8), byte(len(payload)))
	}
	return append(b, payload...)
}
