"""Comment on each recorded table, by hand: read it again when a table is run anew."""

FIGURE_4 = """
## Figure 4: frames of an overarching question

Sec. 5.4: "for long videos with overarching questions, the frames selected are evenly distributed"; of the
figure itself our copy of the text has the caption alone. Nano was asked for everything ("describe all that
happens" and two more wordings) and specific questions, about 40 videos of 61 to 234 s, drawn at a frame a
second. *Longest gap*: the longest stretch without a chosen frame over the mean one, 1 is even. *Distance*:
Kolmogorov and Smirnov's, from an even spread, 0 is even.

|  | chosen frames | longest gap | distance | show a needle | asked needles found |
| --- | --- | --- | --- | --- | --- |
| overarching | 11.9 (11.2-12.6) | 2.56 (2.36-2.80) | 0.19 (0.17-0.21) | 99 % (98-100) | 97 % (95-98) |
| as many at random |  | 3.02 (2.96-3.07) | 0.23 (0.22-0.24) |  |  |
| the video's needles, a frame of each |  | 2.14 (2.00-2.30) | 0.18 (0.16-0.20) |  |  |
| specific | 2.9 (2.6-3.4) | 2.05 (1.98-2.12) | 0.59 (0.56-0.63) | 96 % (93-98) | 100 % (100-100) |
| as many at random |  | 1.93 (1.88-1.98) | 0.53 (0.51-0.55) |  |  |
| over 10 minutes | 12.3 (11.2-13.4) | 2.71 (2.36-3.12) | 0.19 (0.16-0.21) | 99 % (97-100) | 97 % (95-99) |
| as many at random |  | 3.13 (3.04-3.21) | 0.24 (0.23-0.25) |  |  |
| the video's needles, a frame of each |  | 2.32 (2.03-2.67) | 0.18 (0.15-0.22) |  |  |
| half bare | 11.1 (10.0-12.1) | 6.15 (5.63-6.64) | 0.52 (0.50-0.54) | 98 % (95-100) | 91 % (86-95) |
| as many at random |  | 2.98 (2.88-3.06) | 0.25 (0.23-0.27) |  |  |
| the video's needles, a frame of each |  | 5.82 (5.41-6.21) | 0.54 (0.52-0.56) |  |  |

`python -m experiments.evenness OUT.jsonl`, 2026-11-30, nano as it is in the package; means over videos, 95 %
by a bootstrap over them. The three rows of long videos are of `--seconds 600..900`, 14 videos; the last three
("half bare") of `--bare 1 --seconds 60..120`, 20 videos.

**What we make of it.** Frames of an overarching question are spread, as Sec. 5.4 says, and more evenly than
chance, and there are four times as many of them; those of a specific one lie where its needle is. But in this
world needles keep apart, and frames that follow the needles are spread, too. Where as much footage without a
needle follows, the two come apart, and the frames stay with the needles (98 % show one, 0.52 from an even
spread where the needles are 0.54): what looks even is the content, not the selector. The nano before, whose
queries were taught zones of time, lay between the two (0.30; a quarter of its frames on bare footage, 77 % of
the needles found). The number of frames follows the question, below an L* of 32. A gap is comparable at equal
numbers of frames only, hence the rows at random.
"""

FINDINGS = {
    "table1": (
        "B-VLLM helps both baselines wherever Tables 1 and 2 have it help, by an interval without 0 in one "
        "world at least: LLaMA-VID on short (busy), medium and long videos (plain; busy +8.3, -4.7 to +20.6) "
        "and on images, VideoLLaMA2 on medium and long videos and on images. Two rows differ from the "
        "paper's. (1) *VideoLLaMA2 on short videos* does not lose, it gains 27 and 34 points: alone it "
        "hardly reads here, near guessing on busy pictures (24 %) and 39 % on plain ones (guessing: 30). Its "
        "connector begins from nothing and tells worse what a frame holds: after pairing 25 % of the asked "
        "things' variance is left on busy frames of the exam, LLaMA-VID's two tokens leave 16 %, both "
        "baselines 10 % with B-VLLM's tokens before their last layers "
        "(`experiments.reproduction.pairing_error`, seed 1). More of the same was tried: paired for three "
        "times the steps (`experiments.reproduction.longer_pairing`, two seeds) it leaves 22 %, and answers "
        "45 % of plain pictures and 38 % of short plain videos (36 in the table), of busy ones as many as "
        "guessing (24, 24). So it is not a matter of steps alone; what else it lacks (one of its tokens "
        "stands for four patches of two frames, and so for several things) was not tried. Its rows say what "
        "B-VLLM adds to a bridge that has not learned to read, and nothing of what VideoLLaMA2 is worth. (2) "
        "*B-VLLM above LLaMA-VID w. Ours*, in the paper on all ten columns: here all three wholes answer "
        "alike (45.2, 44.3, 45.1 in the busy world, 67.4, 68.6, 69.5 in the plain one). They differ in the "
        "last layers alone, where the paper's differ in language model and data, too. *Our own rows*: F.S. "
        "and T.M. are enough for LLaMA-VID's two tokens a frame where a frame holds one thing (67.9 with 4 "
        "tokens a video, B-VLLM 67.4 with 17), and not where it holds many (29.4, and images at guessing: of "
        "its two tokens one is the mean of all patches)."
    ),
    "table3": (
        "Every order on videos that the paper's Table 3 claims comes out the same, in one world at least by "
        "an interval without 0, and the full row is the highest of all. (The run began at commit f719f64 and "
        "was killed twice on its way; the trainings that were under way at the second kill were made once "
        "more, left alone: the same weights to the bit.) *F.S.* matters in both worlds: 16 even frames miss "
        "what lasts a few seconds, however their tokens are spent. Taken out of the whole it costs the more "
        "the longer the video is in the plain world (12, 34, 39 points), and not so in the busy one (14, 16, "
        "10). *S.S.*, added last, is worth more than F.S., added first, in the busy world (9.7 and 5.9 "
        "points); taken out of the whole, F.S. is (13.2). Tokens that were made by merging patches are a "
        "blurred picture, of which language models read little after 200 steps. That is a matter of "
        "training, too: in three of five seeds rows without S.S. stay near guessing on busy pictures (18 to "
        "28 %), in two they begin to read them (55 to 64 %, where the full row has 54 to 61), hence the wide "
        "intervals of these rows. *T.M.* shows in different places in the two worlds: alone by 6.7 points in "
        "the plain one (2.6, -2.2 to 8.1, in the busy one), behind S.S. by 4.3 in the busy one (2.7, -0.7 to "
        "6.3, in the plain one), there for less than half of the tokens in both, 29 and 17 in place of 64. "
        "Where the budget is tight it is worth more (next table). That T.M. hurts images until S.S. is added "
        "does not show, and cannot: here a picture is one frame for all its queries with or without T.M. (by "
        "Sec. 3.3 the paper's are L* copies of their frame until T.M. merges them). In the plain world it is "
        "the other way round by 8.8 points, and F.S. helps images, too, where there is nothing to merge or "
        "to select: gains of training, we think, since a model that is shown even frames, or 16 copies at "
        "four tokens each, learns less of reading."
    ),
    "table3_cause": (
        "Recorded with the models of before (commit e931b65), when merging to the budget took rows of S on "
        "one frame for one frame and so folded the copies; Table 3's are trained anew. We expected that it "
        "left T.M. nothing to do without S.S., where T.M. was worth 2.6 and 3.9 points. Where tokens are "
        "thinned in place of merged, T.M. was worth no more in the busy world (-1.3 points, but both rows "
        "are near guessing there, so that it could hardly show), and +2.8 (-1.8 to +7.3) in the plain one. "
        "Now that each row is halved by itself, it is worth 2.6 and 6.7 (Table 3): in the plain world the "
        "folding did hide a part of it. What decides more is how tight the budget is: behind S.S., at a "
        "theta of 16, T.M. is worth 6.9 points in the busy world and 13.7 in the plain one, where it was 5.6 "
        "and 1.2 at 64 with the same three seeds. The full model loses little from 64 to 16 tokens (45.2 to "
        "40.6, and 67.4 to 66.9), the one without T.M. much (39.5 to 33.7, and 66.2 to 53.1): copies take "
        "the room."
    ),
    "figure3": (
        "One model of each of three seeds, other numbers at inference. *R* is what counts where a frame "
        "holds many things: half of it costs 6.9 points in the busy world, nearly all of them in questions "
        "about space (53.1 to 41.5; time 34.8 to 34.0). That is more than ten times what Sec. 5.3 tells of "
        "32 to 16: here each of 8 queries was paired with things of a frame, so that half of them leave out "
        "things, where 16 of 32 may still cover a picture. It does not explain the plain world, where a "
        "frame holds one thing and half of R costs 5.8 points, too (-0.2 to 14.4). *L\\** costs little, as "
        "there: 2.0 points and 2.6 more in the plain world, not told apart from chance in the busy one (1.3 "
        "and 0.7), where the frames that were asked for are found less often (74, 70, 69 %). *theta*: a "
        "quarter costs where more than a quarter is in use (busy, 29 of 64 tokens: 4.5 points), hardly "
        "anything where little more is (plain, 17 of 64: 0.6, not told apart from 0), and twice as much "
        "changes nothing (but one picture of 360, which a change of code between the runs turned: asked "
        "again, it is as in all other rows): a plateau, as in Fig. 3c; ours begins where the merged frames' "
        "tokens have room. *tau and gamma*: a sharp choice is better, the arg-max (45.2 and 67.4) above "
        "every soft one, tau 0.1 above 0.5 at each gamma in both worlds, though no single pair that Sec. 5.3 "
        "names is told apart. That gamma 0.75 beats 0.5 does not show; at gamma 1, where only frames of rows "
        "equal to 1e-6 of their cosine merge, 63 and 42 tokens are spent for no more right answers. (Soft "
        "rows are of commit d79e575, where a merged frame was compared by the mean of its rows; since then "
        "by its first row, as eq. 2 has it; and rows on one frame were merged to the budget as one. One-hot "
        "rows merge alike either way.)"
    ),
    "figure5": (
        "Saturated, as Fig. 5 and Sec. 8.2 have it: from 14 queries of 16 to all, nothing is gained (-0.1 "
        "and +0.2 points, 1.4 and 1.2 at most by the intervals), nor lost. What few queries cost depends on "
        "the question more than on the length of the video: with two of them ordering falls from 64.7 to "
        "38.3 (it needs two frames at least), retrieval stays at 76. Long videos lose more than short ones "
        "in the plain world (10.8 points against 5.3), and about as many in the busy one (5.8 and 3.3, "
        "neither told apart from 0), where they are answered least with any number."
    ),
    "table4": (
        "A Q-Former, whose queries share self-attention with the question and cross-attend to frames, is "
        "ahead of a resampler that reads both as one sequence: by 13.6 and 10.5 points on [CLS], where the "
        "paper's Table 4 has 2.2, 1.2 and 0.5, and 1.2 the other way on EgoSchema. It is what they find: a "
        "frame that shows what is asked in 74 and 95 % of videos against 44 and 81 %, after 300 steps each; "
        "with more the gap may close. On means, where both find alike (31 and 29 %, plain 83 and 81 %), the "
        "two are not told apart. *[CLS] and mean*: the other way round than in Table 4, whose test is "
        "another one (VideoLLaMA2 with one MLP, no selection by the question). The cause stands under Table "
        "7. (Trainings here and there are of commit d79e575, where a merged frame was compared by the mean "
        "of its rows; since then by its first row, as eq. 2 has it. Exams, whose rows are one-hot, merge "
        "alike either way.)"
    ),
    "table7": (
        "The mean is below [CLS], the other way round than in the paper's Table 7, the maximum, too, as "
        "there; the reader, on whose order the paper's columns differ, is below here. It is all selection: "
        "on single frames, where nothing is selected, the four rows read alike (58 to 60 %, and 86 to 90 %), "
        "but [CLS] finds what is asked in 74 and 95 % of videos, the mean in 31 and 83 %. Two causes were "
        "tried out. *What there is to read*: a linear map reads the words of what a frame shows better off "
        "[CLS] (area under the ROC curve 0.944 in the busy world, 0.998 in the plain one) than off the mean "
        "(0.874, 0.991) or the maximum (0.884, 0.992; `experiments.reproduction.feature_words`): the tower's "
        "warm-up taught [CLS] captions, and patches only through readers that learned to weigh them, never "
        "their mean. *How long it is taught*: with three times the steps of selection a frame that shows "
        "what is asked is found in 89 % of busy videos in place of 69 by [CLS], and in 27 as before by the "
        "mean (plain: 98 and 82 %; three seeds, before instruction, "
        "`experiments.reproduction.longer_selection`). So the order tells of our tower, whose [CLS] was made "
        "for this, and nothing against the paper's, which keeps [CLS] for the balance of cost and "
        "effectiveness. A reader that is trained with its selector, for 150 steps, comes no further than the "
        "mean."
    ),
    "beyond": (
        "Both choices beside the strongest frames help where few frames show what is asked: 4.5 points each "
        "in the plain world, mostly counting (50.6 to 60.2) and time (61.5 to 68.6), for 22 tokens in place "
        "of 17. In the busy world they find more (74 % of videos, 83 and 88 %) and answer no more: 12 and 23 "
        "frames share 64 tokens, and questions about space lose what their one frame loses (53.1 to 47.9). "
        "With room for all of them (theta 256) space comes nearly back under second choices (51.0) and time "
        "gains (34.8 to 38.2), but the whole is not told apart from the paper's way, nor is L*-free "
        "selection (-3.2, -8.3 to +1.8), which shows the most frames. nano, which has room (theta 512), "
        "keeps second choices. Of the rows that are trainings of their own none is above the paper's way. "
        "Adaptive tokens (-6.9, -11.8 to -2.0, in the busy world) spend twice as many tokens and answer "
        "less; why was not tried out. Tokens that follow question and content read single busy pictures "
        "better (66.1, the paper's way 59.7; no interval was made of it), and videos not (-4.0, -9.1 to "
        "+1.1). [CLS] and mean together select worse than [CLS] (48 % found, 74 with [CLS]; -14.1, -18.9 to "
        "-9.3): what reads worse off the mean (Table 7) seems to cover what [CLS] says. So the paper's fixed "
        "R and [CLS] stay, and of ours second choices alone are nano's default."
    ),
}
