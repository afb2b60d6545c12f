package pitch

import (
	"fmt"
	"strings"
)

// The picture is 640 × 360. Everything on it moves in a period that divides
// loopSeconds, so that a clip of that length has no seam.
const (
	loopSeconds = 120
	liveRate    = 15 // pictures a second
	clipRate    = 10
	clipScale   = "480:270"

	segmentSeconds = 2
	keptSegments   = 150 // five minutes, to replay
)

// lines is 1 where the pitch is painted white (geq, ffmpeg-filters).
const lines = `gt(between(hypot(X-320,Y-180),53,55.5)+between(X,319,320)*between(Y,16,343)` +
	`+(between(X,20,21)+between(X,618,619))*between(Y,16,343)+(between(Y,16,17)+between(Y,342,343))*between(X,20,619)` +
	`+(between(X,95,96)+between(X,543,544))*between(Y,90,269)+(between(Y,90,91)+between(Y,268,269))*(between(X,20,96)+between(X,543,619)),0)`

// mover is a disc that swings around a place.
type mover struct {
	x, y           int // px, its place
	wide, high     int // px, how far
	perX, perY     int // swings in loopSeconds
	phase          float64
	colour, radius int
}

// movers are two teams of five, and the ball.
func movers() []mover {
	var all []mover
	for i := range 5 {
		f := float64(i)
		all = append(all,
			mover{90 + i*60, 70 + (i*97)%220, 46, 38, 7 + i, 9 + 2*i, f, 0xe63946, 8},
			mover{550 - i*60, 80 + (i*131)%210, 46, 38, 8 + i, 7 + 2*i, f + 1.5, 0x3d7bff, 8})
	}
	return append(all, mover{316, 178, 250, 130, 19, 23, 0, 0xffffff, 5})
}

// picture is the filter graph that draws the match, without an end.
func picture(rate int) string {
	still := fmt.Sprintf("trim=end_frame=1,%%s,loop=loop=-1:size=1:start=0,setpts=N/(%d*TB)", rate)
	var b strings.Builder
	grass := fmt.Sprintf("format=gbrp,geq=r='if(%[1]s,225,if(mod(floor(X/40),2),46,52))':g='if(%[1]s,232,if(mod(floor(X/40),2),116,126))':b='if(%[1]s,225,if(mod(floor(X/40),2),64,70))'", lines)
	fmt.Fprintf(&b, "color=c=black:s=640x360:r=%d,"+still+",format=yuv420p[v0]", rate, grass)
	for i, m := range movers() {
		size := 2 * m.radius
		disc := fmt.Sprintf("format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*clip(%[1]d-hypot(X-%[2]s,Y-%[2]s),0,1)'", m.radius, fmt.Sprintf("%d.5", m.radius-1))
		fmt.Fprintf(&b, ";color=c=0x%06x:s=%dx%d:r=%d,"+still+"[d%d]", m.colour, size, size, rate, disc, i)
		fmt.Fprintf(&b, ";[v%d][d%d]overlay=x='%d+%d*sin(2*PI*%d*t/%d+%g)':y='%d+%d*cos(2*PI*%d*t/%d+%g)'",
			i, i, m.x, m.wide, m.perX, loopSeconds, m.phase, m.y, m.high, m.perY, loopSeconds, m.phase)
		if i < len(movers())-1 {
			fmt.Fprintf(&b, "[v%d]", i+1)
		}
	}
	return b.String()
}

// murmur is the sound of the stands, from afar.
const murmur = "anoisesrc=c=brown:a=0.2:r=48000,lowpass=f=450"

// liveArgs are the arguments with which ffmpeg makes the stream in its directory,
// as fast as time goes by. web/static/hls.js says which codecs these are.
func liveArgs() []string {
	gop := fmt.Sprint(segmentSeconds * liveRate)
	return []string{
		"-hide_banner", "-nostdin", "-loglevel", "error",
		"-re", "-f", "lavfi", "-i", picture(liveRate), "-re", "-f", "lavfi", "-i", murmur,
		"-c:v", "libx264", "-preset", "superfast", "-threads", "1", "-profile:v", "baseline", "-level", "3.0", "-pix_fmt", "yuv420p",
		"-crf", "27", "-maxrate", "700k", "-bufsize", "1400k", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0",
		"-c:a", "aac", "-b:a", "32k", "-ac", "1",
		"-f", "hls", "-hls_time", fmt.Sprint(segmentSeconds), "-hls_list_size", fmt.Sprint(keptSegments),
		"-hls_flags", "delete_segments+program_date_time+independent_segments+temp_file",
		"-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", "%05d.m4s",
		"live.m3u8",
	}
}

// clipArgs are those with which it makes the clip that is played where there is no
// ffmpeg: one period, small, and silent (a video without sound is paused in a tab
// that is hidden).
func clipArgs(file string) []string {
	return []string{
		"-hide_banner", "-nostdin", "-loglevel", "error", "-y",
		"-f", "lavfi", "-i", picture(clipRate) + ",scale=" + clipScale, "-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono",
		"-t", fmt.Sprint(loopSeconds), "-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "50", "-deadline", "good", "-cpu-used", "1", "-g", "240", "-threads", "2",
		"-c:a", "libopus", "-b:a", "6k", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1", file,
	}
}
