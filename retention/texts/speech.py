"""Recognise speech without a network, by the Moonshine model that its package brings along."""

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from retention.errors import BadInput, Refused
from retention.text import gettext

try:
    import moonshine_voice
except (ImportError, OSError):  # the extra `voice`; OSError: a library of another C runtime
    moonshine_voice = None

Sound = np.ndarray[tuple[int], np.dtype[np.int16]]
RATE = 16_000  # samples a second that the model was trained on
MAX_SECONDS = 30  # of a spoken command
MAX_CALL_SECONDS = 3_600
PIECE, SEARCHED = 30, 10  # seconds; a long recording is cut in the last ten, where it is quietest
QUIET = 0.003  # root mean square of a recording without speech; full scale is 1
CONVERSION_SECONDS = 30


def recognise(path: Path, most: int = MAX_SECONDS) -> str:
    """Return the words of a recording in English, or an empty text where nobody speaks.

    `most`: seconds that it may take.

    Raises `BadInput`: it is silent, too long, or no sound. `Refused`: the extra is missing.
    """
    if moonshine_voice is None:
        message = gettext(
            "I cannot hear here: Slack gave no text, and the recogniser is not installed. Type "
            "it, or ask an operator to run: pip install 'retention-desk[voice]'"
        )
        raise Refused(message)
    sound = samples(path, most + 1)
    if len(sound) > most * RATE:
        message = gettext("The recording may take {seconds} seconds; say it in fewer words.")
        raise BadInput(message.format(seconds=most))
    if not len(sound) or np.sqrt(np.mean(np.square(sound / 2**15))) < QUIET:
        raise BadInput(gettext("I heard nothing in this recording; speak closer, or type it."))
    weights = Path(moonshine_voice.__file__).parent / "assets" / "tiny-en"
    with moonshine_voice.Transcriber(weights, moonshine_voice.ModelArch.TINY) as model:
        found = [model.transcribe_without_streaming(part / 2**15, RATE) for part in pieces(sound)]
    return " ".join(line.text.strip() for one in found for line in one.lines).strip()


def pieces(sound: Sound) -> list[Sound]:
    """Cut a long recording where it is quietest, so that no word is cut and memory stays small."""
    frame, found = RATE // 10, []
    while len(sound) > PIECE * RATE:
        searched = sound[(PIECE - SEARCHED) * RATE : PIECE * RATE].reshape(-1, frame)
        quietest = int(np.abs(searched.astype(np.int32)).sum(axis=1).argmin())
        end = (PIECE - SEARCHED) * RATE + quietest * frame + frame // 2
        found.append(sound[:end])
        sound = sound[end:]
    return [*found, sound]


def samples(path: Path, most: int) -> Sound:
    """Return the first seconds of a recording: 16 bit, 16 kHz, one channel."""
    try:
        return _wav(path, most)
    except (wave.Error, EOFError, ValueError):
        if shutil.which("ffmpeg") is None:
            message = gettext("I read WAV here; an operator can install ffmpeg for other formats.")
            raise BadInput(message) from None
        return _converted(path, most)


def _wav(path: Path, most: int) -> Sound:
    with wave.open(str(path)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        if file.getsampwidth() != 2 or not 8_000 <= rate <= 96_000:
            raise wave.Error
        frames = file.readframes(most * rate)
    sound = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1)
    if rate != RATE:
        common = np.gcd(rate, RATE)
        sound = resample_poly(sound, RATE // common, rate // common)
    return np.clip(np.rint(sound), -(2**15), 2**15 - 1).astype("<i2")


def _converted(path: Path, most: int) -> Sound:
    """Convert by ffmpeg, which may open nothing but this file."""
    command = [
        *("ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"),
        *("-format_whitelist", "wav,mp3,mov,matroska,ogg,flac,aac"),  # no list of other files
        *("-i", f"file:{path}", "-vn", "-t", str(most)),
        *("-f", "s16le", "-ar", str(RATE), "-ac", "1", "pipe:1"),
    ]
    patience = CONVERSION_SECONDS + most / 20
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode or not done.stdout:
        raise BadInput(gettext("This recording is broken or no sound; record it again, please."))
    return np.frombuffer(done.stdout[: len(done.stdout) // 2 * 2], "<i2")
