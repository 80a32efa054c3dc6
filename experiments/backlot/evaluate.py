"""Measures an exported pipeline on held-out clips; writes the numbers as JSON and the tables of the model card.

  python evaluate.py --model datasets/models/backlot-1 --reel build/release/reel --truth TRUTH --out numbers.json

Continuation: the model gets the caption and two clean latent frames and makes the other seven. Objects are then
tracked by colour, and their velocity over four frames is compared with that of the truth, beside two baselines:

* copy: the last given frame stands still;
* law: the scene's exact law of motion, started from positions measured in the given frames.

The tracker itself is measured too, on the true frames and on frames that went through the VAE.
`--truth` is a folder for the truth files of `reel world NAME --out`; they are made when missing.

Shapes: n clips, F frames, positions in pixels [n, objects, F, 2], x to the right and y down.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import WanPipeline
from torch import Tensor
from tqdm import tqdm

import data
import models
import sample

SPAN = 4  # frames between the two positions of a velocity: one latent frame
# Where the continued window starts, in latent frames. A jumper waits at first, and nobody could know for how long.
STARTS = {"uniform": 0, "parabola": 0, "collision": 0, "fall": 2, "house": 0}
COLORS = {
    "red": (222, 52, 48),
    "green": (46, 158, 84),
    "orange": (247, 148, 30),
    "purple": (140, 82, 190),
    "blue": (44, 102, 204),
}
SUITS = {"red": (226, 44, 48), "orange": (250, 132, 24), "yellow": (252, 214, 44), "green": (24, 150, 70)}


def truths(reel: str, world: str, count: int, frames: int, folder: Path) -> list[dict[str, Any]]:
    """Truth of the first `count` held-out clips of `world`."""
    paths = [folder / f"{world}-{data.HELD_OUT + i}.truth.json" for i in range(count)]
    if not all(path.exists() for path in paths):
        command = [reel, "world", world, "--seed", str(data.HELD_OUT), "--count", str(count), "--frames", str(frames)]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return [json.loads(path.read_text()) for path in paths]


# ---------------------------------------------------------------------------------------------------------------------
# Tracking


def track(frames: np.ndarray, background: np.ndarray, color: tuple[int, int, int], others: list[Any]) -> np.ndarray:
    """Sub-pixel centroid [F, 2] of what has `color` in `frames` [F, H, W, 3] before `background` [H, W, 3].

    Every pixel is explained as background plus shares of `color` and of the `others`; the centroid is that of the
    share of `color`, around its densest spot. NaN where less than four pixels of it are seen.
    """
    change = frames.astype(np.float32) - background.astype(np.float32)
    basis = np.stack([np.asarray(c, np.float32) - background.astype(np.float32) for c in (color, *others)], axis=-1)
    gram = basis.swapaxes(-1, -2) @ basis + 50 * np.eye(basis.shape[-1], dtype=np.float32)
    project = np.linalg.solve(gram, basis.swapaxes(-1, -2))  # [H, W, colours, 3]
    shares = np.einsum("hwkc,fhwc->fhwk", project, change)
    rest = change - np.einsum("hwck,fhwk->fhwc", basis, shares)
    share = np.clip(shares[..., 0], 0, 1) * np.exp(-np.square(rest).sum(-1) / (2 * 60.0**2))
    share = np.where(share > 0.15, share, 0)
    height, width = share.shape[1:]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    positions = np.full((len(frames), 2), np.nan)
    for f, s in enumerate(share):
        if s.sum() < 4:
            continue
        padded = np.pad(s, 3).cumsum(0).cumsum(1)
        padded = np.pad(padded, ((1, 0), (1, 0)))
        box = padded[7:, 7:] - padded[:-7, 7:] - padded[7:, :-7] + padded[:-7, :-7]
        cy, cx = np.add(np.unravel_index(box.argmax(), box.shape), 0.5)
        for _ in range(3):
            near = s * (np.hypot(x - cx, y - cy) < 12)
            cx, cy = (near * x).sum() / near.sum(), (near * y).sum() / near.sum()
        positions[f] = cx, cy
    return positions


def positions_of(clip: data.Clip, truth: dict[str, Any], frames: np.ndarray) -> np.ndarray:
    """Positions [objects, F, 2] of the objects of `clip` in `frames`, which may be the true ones or others."""
    words = truth["attributes"]
    if clip.world == "fall":
        background = np.median(clip.frames, axis=0)
        return track(frames, background, SUITS[words["suit"]], [])[None]
    background = np.full_like(clip.frames[0], 255)
    colors = [COLORS[words["color"]], COLORS["blue"]][: len(truth["objects"])]
    return np.stack([track(frames, background, c, [o for o in colors if o != c]) for c in colors])


# ---------------------------------------------------------------------------------------------------------------------
# The exact laws


def continue_by_law(truth: dict[str, Any], seen: np.ndarray, first: int, frames: int) -> np.ndarray:
    """Positions [objects, F, 2] for `frames` frames; `seen` [objects, k, 2] are given, from frame `first` on."""
    facts, scale, fps = truth["facts"], truth["px_per_m"], truth["fps"]
    gravity = facts.get("gravity_m_per_s2", 0.0) * scale / fps**2  # px per frame^2, downwards
    t = np.arange(frames, dtype=float)
    fall_from = facts["wait_s"] * fps if truth["world"] == "fall" else None
    out = np.empty((len(seen), frames, 2))
    for i, points in enumerate(seen):
        times = first + np.arange(points.shape[0], dtype=float)
        flying = np.isfinite(points[:, 0])
        if fall_from is not None:
            flying &= times >= fall_from
        times, points = times[flying], points[flying]
        drop = 0.5 * gravity * np.square(times - (fall_from or 0.0))
        if fall_from is not None:  # at rest in y when the fall begins
            vy, y0 = 0.0, (points[:, 1] - drop).mean()
        else:
            vy, y0 = np.polyfit(times, points[:, 1] - drop, 1)
        vx, x0 = np.polyfit(times, points[:, 0], 1)
        out[i, :, 0] = x0 + vx * t
        out[i, :, 1] = y0 + vy * t + 0.5 * gravity * np.square(t - (fall_from or 0.0))
        if fall_from is not None:
            end = fall_from + facts["fall_s"] * fps
            stop = [x0 + vx * end, y0 + 0.5 * gravity * (end - fall_from) ** 2]
            out[i, t >= end] = stop
    if truth["world"] == "collision":
        reach = (facts["radius_m"] + facts["other_radius_m"]) * scale
        gap = out[1, :, 0] - out[0, :, 0] - reach
        speed = out[:, 1, 0] - out[:, 0, 0]
        if speed[0] > speed[1]:
            meet = gap[0] / (speed[0] - speed[1])
            mass = np.array([facts["mass_kg"], facts["other_mass_kg"]])
            after = 2 * (mass * speed).sum() / mass.sum() - speed
            for i in range(2):
                out[i, :, 0] += np.where(t > meet, (after[i] - speed[i]) * (t - meet), 0)
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Camera


def camera_shift(before: Tensor, after: Tensor, steps: int = 30) -> Tensor:
    """Shift (x, y) in pixels and zoom [n, 3] that carries `before` to `after` [n, 3, H, W], by Gauss-Newton.

    A point at p from the middle of `before` is at zoom * (p - shift) in `after`, as in the truth of `reel world`.
    """
    n, _, height, width = before.shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5 - height / 2, torch.arange(width) + 0.5 - width / 2, indexing="ij")

    def warped(p: Tensor) -> Tensor:
        px = x / p[:, 2, None, None] + p[:, 0, None, None]
        py = y / p[:, 2, None, None] + p[:, 1, None, None]
        grid = torch.stack([px / (width / 2), py / (height / 2)], dim=-1)
        return torch.nn.functional.grid_sample(before, grid, align_corners=False, padding_mode="border")

    parameters = torch.tensor([0.0, 0.0, 1.0]).repeat(n, 1)
    inside = torch.zeros(height, width)
    inside[6:-6, 6:-6] = 1
    small = torch.tensor([0.25, 0.25, 0.004])
    for _ in range(steps):
        base = warped(parameters)
        jacobian = torch.stack(
            [
                (warped(parameters + small * torch.eye(3)[i]) - warped(parameters - small * torch.eye(3)[i]))
                / (2 * small[i])
                for i in range(3)
            ],
            dim=-1,
        )
        jacobian = (jacobian * inside[..., None]).flatten(1, 3)
        residual = ((after - base) * inside).flatten(1)[..., None]
        normal = jacobian.mT @ jacobian + 1e-6 * torch.eye(3)
        parameters = parameters + torch.linalg.solve(normal, jacobian.mT @ residual)[..., 0]
    return parameters


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of u8 arrays."""
    error = np.square(a.astype(np.float32) - b.astype(np.float32)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def velocities(positions: np.ndarray) -> np.ndarray:
    """[.., F, 2] -> [.., F - SPAN, 2] in pixels per frame."""
    return (positions[..., SPAN:, :] - positions[..., :-SPAN, :]) / SPAN


def velocity_errors(
    clips: list[data.Clip], truth: list[dict[str, Any]], films: dict[str, list[Any]], given: int
) -> dict[str, Any]:
    """Mean velocity error of each film in `films` (frames, or positions already) from frame `given` - 1 on.

    A velocity counts where the true object is wholly inside the frame at both ends; an object that the tracker
    does not find counts as standing still, and is counted as lost.
    """
    sums: dict[str, list[float]] = {name: [] for name in films}
    soon: dict[str, list[float]] = {name: [] for name in films}  # the first velocity alone
    lost = dict.fromkeys(films, 0)
    speeds, scale = [], []
    for i, (clip, facts) in enumerate(zip(clips, truth, strict=True)):
        objects = facts["objects"]
        true = np.stack([np.stack([o["x_px"], o["y_px"]], axis=-1) for o in objects])[:, : len(clip.frames)]
        visible = np.array([o["visible"] for o in objects], bool)[:, : len(clip.frames)]
        counts = visible[:, SPAN:] & visible[:, :-SPAN]
        counts[:, : given - 1] = False
        if clip.world == "fall":  # until the landing
            end = (facts["facts"]["wait_s"] + facts["facts"]["fall_s"]) * facts["fps"]
            counts &= (np.arange(counts.shape[1]) + SPAN <= end)[None]
        if not counts.any():
            continue
        true_v = velocities(true)
        speeds += np.linalg.norm(true_v, axis=-1)[counts].tolist()
        scale.append(facts["fps"] / facts["px_per_m"])
        for name, film in films.items():
            found = film[i] if film[i].shape[-1] == 2 else positions_of(clip, facts, film[i])
            v = velocities(found)
            missing = ~np.isfinite(v).all(-1)
            lost[name] += int((missing & counts).sum())
            v[missing] = 0
            errors = np.linalg.norm(v - true_v, axis=-1)
            sums[name].append(float(errors[counts].mean()))
            soon[name] += errors[:, given - 1][counts[:, given - 1]].tolist()
    out: dict[str, Any] = {"clips": len(scale), "velocities": len(speeds)}
    out["mean_speed_px_per_frame"] = float(np.mean(speeds))
    for name, values in sums.items():
        out[name] = {
            "px_per_frame": float(np.mean(values)),
            "median_px_per_frame": float(np.median(values)),
            "first_px_per_frame": float(np.mean(soon[name])),
            "m_per_s": float(np.mean(np.array(values) * np.array(scale))),
            "lost": lost[name] / len(speeds),
        }
    return out


def evaluate_world(pipeline: WanPipeline, args: argparse.Namespace, world: str) -> dict[str, Any]:
    """All numbers of one scene, and a contact sheet of its first clips."""
    start = STARTS[world]
    first = 0 if start == 0 else 4 * start - 3
    given = 4 * (start + 1) + 1  # frames known: the window's two clean latent frames and all before
    num_frames = 4 * (start + models.WINDOW - 1) + 1
    clips = list(data.clips(args.reel, data.HELD_OUT, args.count, world, num_frames))
    truth = truths(args.reel, world, args.count, num_frames, args.truth)
    made, passed = [], []
    for i in tqdm(range(0, len(clips), args.batch), desc=world, mininterval=10):
        batch = clips[i : i + args.batch]
        latents = sample.encode(pipeline, torch.stack([data.to_video(clip.frames) for clip in batch]))
        passed += list(data.to_frames(sample.decode(pipeline, latents)))
        window = sample.generate(
            pipeline,
            [clip.caption for clip in batch],
            [clip.seed for clip in batch],
            latents[:, :, start : start + 2],
            args.steps,
            args.guidance,
        )
        whole = torch.cat([latents[:, :, :start], window], dim=2)
        made += list(data.to_frames(sample.decode(pipeline, whole)))
    sample.sheet(
        [
            row
            for i in range(6)
            for row in ((f"truth: {clips[i].caption}", clips[i].frames[first:]), ("model", made[i][first:]))
        ],
        args.out.with_name(f"{args.out.stem}-{world}.png"),
    )
    hold = np.minimum(np.arange(num_frames), given - 1)  # frame numbers of "copy the last given frame"
    frozen = [clip.frames[hold] for clip in clips]
    result: dict[str, Any] = {
        "count": len(clips),
        "given_frames": [first, given - 1],
        "vae_psnr_db": float(np.mean([psnr(a.frames, b) for a, b in zip(clips, passed, strict=True)])),
        "vae_psnr_worst_db": float(np.min([psnr(a.frames, b) for a, b in zip(clips, passed, strict=True)])),
        "psnr_db": {
            name: float(np.mean([psnr(a.frames[given:], b[given:]) for a, b in zip(clips, film, strict=True)]))
            for name, film in (("model", made), ("copy", frozen))
        },
    }
    if world == "house":
        shown = (given - 1, given - 1 + 16)
        paths = [t["camera"] for t in truth]
        zoom = torch.tensor([[p["zoom"][f] for f in shown] for p in paths])
        at = torch.tensor([[[p["x_px"][f], p["y_px"][f]] for f in shown] for p in paths])
        true = torch.cat([(at[:, 1] - at[:, 0]) * zoom[:, :1], zoom[:, 1:] / zoom[:, :1]], dim=1)
        still = torch.tensor([0.0, 0.0, 1.0]).expand_as(true)
        found = {"copy": still}
        for name, film in (("model", made), ("tracker", [c.frames for c in clips]), ("vae", passed)):
            video = torch.stack([data.to_video(frames[list(shown)]) for frames in film])
            found[name] = camera_shift(video[:, :, 0], video[:, :, 1])
        result["camera"] = {
            name: {
                "shift_px_per_frame": float((p - true)[:, :2].norm(dim=1).mean() / 16),
                "zoom_per_second": float((p - true)[:, 2].abs().mean()),
            }
            for name, p in found.items()
        }
        result["camera"]["mean_shift_px_per_frame"] = float(true[:, :2].norm(dim=1).mean() / 16)
        return result
    tracked = [positions_of(c, t, c.frames) for c, t in zip(clips, truth, strict=True)]
    law = [continue_by_law(t, p[:, first:given], first, num_frames) for t, p in zip(truth, tracked, strict=True)]
    still = [p[:, hold] for p in tracked]
    films = {"model": made, "copy": still, "law": law, "tracker": tracked, "vae": passed}
    result["velocity"] = velocity_errors(clips, truth, films, given)
    return result


def tables(results: dict[str, Any]) -> str:
    """The numbers as the model card shows them."""
    moving = [world for world in data.WORLDS if "velocity" in results.get(world, {})]
    lines = [
        f"{results[moving[0]]['count']} held-out clips per scene (seeds 1,000,000,000 on), {results['steps']} UniPC steps, "
        f"guidance {results['guidance_scale']:g}.",
        "",
        "Velocity error in pixels per frame, mean (median) over clips, and in m/s:",
        "",
        "| scene | mean speed | **model** | copy the last frame | exact law | VAE | tracker | model, m/s | copy, m/s | not found |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for world in moving:
        v = results[world]["velocity"]
        pair = {n: f"{v[n]['px_per_frame']:.3f} ({v[n]['median_px_per_frame']:.3f})" for n in ("model", "copy", "law", "vae")}
        lines.append(
            f"| {world} | {v['mean_speed_px_per_frame']:.2f} | **{pair['model']}** | {pair['copy']} | {pair['law']} "
            f"| {pair['vae']} | {v['tracker']['px_per_frame']:.3f} | {v['model']['m_per_s']:.2f} "
            f"| {v['copy']['m_per_s']:.2f} | {100 * v['model']['lost']:.0f} % |"
        )
    if "house" in results:
        camera = results["house"]["camera"]
        shift = {n: camera[n]["shift_px_per_frame"] for n in ("model", "copy", "vae", "tracker")}
        lines += [
            "",
            "Camera of the `house` scene over one second after the given frames: mean true shift "
            f"{camera['mean_shift_px_per_frame']:.3f} px/frame; error of the model {shift['model']:.3f}, copy "
            f"{shift['copy']:.3f}, VAE {shift['vae']:.3f}, tracker {shift['tracker']:.4f} px/frame; zoom error of the model "
            f"{camera['model']['zoom_per_second']:.3f} per second, copy {camera['copy']['zoom_per_second']:.3f}.",
        ]
    lines += [
        "",
        "| scene | VAE round trip, dB PSNR: mean (worst clip) | continuation, dB PSNR against truth | copy the last frame |",
        "|---|---|---|---|",
    ]
    shown = [world for world in data.WORLDS if world in results]
    for world in shown:
        r = results[world]
        lines.append(
            f"| {world} | {r['vae_psnr_db']:.1f} ({r['vae_psnr_worst_db']:.1f}) "
            f"| {r['psnr_db']['model']:.1f} | {r['psnr_db']['copy']:.1f} |"
        )
    mean = np.mean([results[world]["vae_psnr_db"] for world in shown])
    return "\n".join([*lines, "", f"Mean round trip over the {len(shown)} scenes: {mean:.1f} dB."])


def write_card(card: Path, results: dict[str, Any]) -> None:
    """Puts the tables between the marks of a model card."""
    begin, end = "<!-- numbers: written by evaluate.py -->", "<!-- end of numbers -->"
    text = card.read_text()
    head, rest = text.split(begin)
    card.write_text(f"{head}{begin}\n{tables(results)}\n{end}{rest.split(end)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--reel", default="build/release/reel")
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="held-out clips per scene")
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--worlds", nargs="*", default=list(data.WORLDS))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pipeline = WanPipeline.from_pretrained(args.model)
    results = {"steps": args.steps, "guidance_scale": args.guidance}
    for world in args.worlds:
        results[world] = evaluate_world(pipeline, args, world)
        args.out.write_text(json.dumps(results, indent=2) + "\n")
        print(world, json.dumps(results[world]))
    if args.card is not None:
        write_card(args.card, results)


if __name__ == "__main__":
    main()
