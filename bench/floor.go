package bench

// FloorConfig says what the floor does. All fields are required.
type FloorConfig struct {
	Addr    string // host:port of IPv4 to listen on
	TickMS  int    // time between two frames
	Payload int    // bytes of a frame, up to maxFloorPayload
}

const maxFloorPayload = 4096
