package redis

import "strconv"

const clusterSlots = 16384

// spreadTags returns n hash tags in the order of their slots, one in each n-th of
// all slots: whatever contiguous part of them a master has, it has its share of
// the keys. Tags that were merely numbered would cluster by chance: of 16, one of
// three masters had four and another seven.
func spreadTags(prefix string, n int) []string {
	tags := make([]string, n)
	for i, found := 0, 0; found < n; i++ {
		tag := prefix + strconv.Itoa(i)
		if at := &tags[slotOf(tag)*n/clusterSlots]; *at == "" {
			*at = tag
			found++
		}
	}
	return tags
}

// slotOf returns the slot of a hash tag: CRC16 of it (XMODEM), modulo the number
// of slots (redis.io/docs/reference/cluster-spec).
func slotOf(tag string) int {
	crc := uint16(0)
	for _, c := range []byte(tag) {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % clusterSlots)
}
